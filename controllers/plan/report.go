// SPDX-License-Identifier: Apache-2.0

package plan

// Version of the report, which is its field "version". Within a version fields are only added.
const Version = "wasmbed.dev/plan/v1"

// Outcomes of a report.
const (
	OutcomeNoChange = "NoChange" // nothing differs
	OutcomeChanges  = "Changes"
	OutcomeDenied   = "Denied" // the commit is refused, or a rule of the policy denies it
)

// Levels of risks.
const (
	LevelOff  = "off"
	LevelWarn = "warn"
	LevelDeny = "deny"
)

// Report is what a change does. Lists are sorted and never null.
type Report struct {
	// Version is "wasmbed.dev/plan/v1".
	Version string `json:"version"`
	// Outcome is NoChange, Changes or Denied.
	Outcome string `json:"outcome"`
	// Path is the fleet's directory in the repository.
	Path string `json:"path"`
	// Base is what the change starts from.
	Base Revision `json:"base"`
	// Head is what it leads to.
	Head Revision `json:"head"`
	// Refused is true when the controllers would refuse the head commit, so that nothing of it happens; then only
	// findings and objects are filled in.
	Refused bool `json:"refused"`
	// Findings on the head commit: its errors, and the warnings that the base commit does not have.
	Findings []Finding `json:"findings"`
	// Risks are what a reviewer should look at, denied ones first.
	Risks []Risk `json:"risks"`
	// Totals sum the consequences up.
	Totals Totals `json:"totals"`
	// Objects that differ.
	Objects Objects `json:"objects"`
	// Applications whose spec or devices change.
	Applications []Application `json:"applications"`
	// Devices that come, go, or are treated differently.
	Devices Devices `json:"devices"`
	// Modules that are new or differ.
	Modules []Module `json:"modules"`
	// Boards tells how full the fullest device of each board is.
	Boards []Board `json:"boards"`
	// Prune is what the brake on removals says.
	Prune Prune `json:"prune"`
	// Live is how what runs differs from the base, when the plan was made against what runs.
	Live LiveState `json:"live"`
	// Notes say what the report could not know.
	Notes []string `json:"notes"`
}

// LiveState is what runs now.
type LiveState struct {
	// Asked is true when the plan was made against what runs; otherwise the rest is empty.
	Asked bool `json:"asked"`
	// Repository that the fleet follows, "namespace/name".
	Repository string `json:"repository"`
	// Offline are devices, "namespace/name", that should be there and are away.
	Offline []string `json:"offline"`
	// Drift are objects that differ from what the applied commit says: before is git's, after the live one.
	Drift []Object `json:"drift"`
}

// Revision is one side of the change.
type Revision struct {
	// Name as it was asked for, or "working tree".
	Name string `json:"name"`
	// Commit in hexadecimal; empty for the working tree.
	Commit string `json:"commit"`
	// Subject of the commit's message.
	Subject string `json:"subject"`
}

// Finding is what the judgement of the head commit says, as `wasmbed validate` does.
type Finding struct {
	// Severity is Error or Warning.
	Severity string `json:"severity"`
	// Reason in one word.
	Reason string `json:"reason"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
	// File is relative to the repository's root.
	File string `json:"file"`
	// Line counts from 1; 0: not known.
	Line int32 `json:"line"`
	// Object is "Kind namespace/name".
	Object string `json:"object"`
}

// Risk is one reason to look twice.
type Risk struct {
	// Rule of the documented list, or the name of a check of policy.yaml.
	Rule string `json:"rule"`
	// Level is warn or deny.
	Level string `json:"level"`
	// Subject is what the risk is about, as "Application plant/blink"; empty: the whole change.
	Subject string `json:"subject"`
	// Message is the reason.
	Message string `json:"message"`
}

// Totals sum the consequences up. A device counts once, however many applications it is about.
type Totals struct {
	// Gets is how many devices get an application that they do not run.
	Gets int `json:"gets"`
	// Restarts is how many devices stop an application and start it anew.
	Restarts int `json:"restarts"`
	// Loses is how many devices lose an application and stay in the fleet.
	Loses int `json:"loses"`
	// MayGet is how many devices get an application unless they hold it already.
	MayGet int `json:"mayGet"`
	// Touched is how many devices get, restart or lose an application.
	Touched int `json:"touched"`
	// Bytes of modules that are delivered to devices, at most.
	Bytes int64 `json:"bytes"`
	// LongestSeconds is the longest rollout, when each wave takes as long as it may.
	LongestSeconds int64 `json:"longestSeconds"`
}

// Objects are the objects that differ, after kustomize and with defaults applied.
type Objects struct {
	Added   []Object `json:"added"`
	Changed []Object `json:"changed"`
	Removed []Object `json:"removed"`
	// Unchanged is how many are the same.
	Unchanged int `json:"unchanged"`
	// Rewritten is how many of those are written differently but mean the same.
	Rewritten int `json:"rewritten"`
}

// Object is one object that differs.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// File and line in the head commit, for a removed object in the base commit.
	File string `json:"file"`
	Line int    `json:"line"`
	// Fields that differ, of a changed object; of a Secret none are told.
	Fields []Field `json:"fields"`
	// MoreFields is how many more differ.
	MoreFields int `json:"moreFields"`
}

// Field is one field that differs.
type Field struct {
	// Path as "spec.config[interval]".
	Path string `json:"path"`
	// Change is Added, Changed or Removed.
	Change string `json:"change"`
	// Before and After are the values as text, shortened.
	Before string `json:"before"`
	After  string `json:"after"`
}

// Changes of objects, fields and applications.
const (
	Added     = "Added"
	Changed   = "Changed"
	Removed   = "Removed"
	Unchanged = "Unchanged"
)

// Application is one Application whose spec or devices change.
type Application struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Change is Added, Changed, Removed, or Unchanged when only its devices change.
	Change string `json:"change"`
	// Devices is how many it is meant for afterwards, Before how many it was meant for.
	Devices int `json:"devices"`
	Before  int `json:"before"`
	// Gets lists the devices that get it, each with its wave.
	Gets []Step `json:"gets"`
	// Restarts lists the devices that run it and stop and start it because of the change, each with its wave.
	Restarts []Step `json:"restarts"`
	// Loses lists the devices that lose it and stay in the fleet.
	Loses []string `json:"loses"`
	// Leaves lists the devices that run it and leave the fleet.
	Leaves []string `json:"leaves"`
	// MayGet lists the devices that get it unless they hold it already, which git does not say: they were off or
	// quarantined, or the application was suspended.
	MayGet []Step `json:"mayGet"`
	// Waiting is how many devices are off or quarantined, and served when they return.
	Waiting int `json:"waiting"`
	// Held is how many devices would change and do not, because the application is suspended.
	Held int `json:"held"`
	// Excluded is how many selected devices it does not fit.
	Excluded int `json:"excluded"`
	// Why says what of the application's instances changes: module, config, limits, permissions, restartPolicy.
	Why []string `json:"why"`
	// Rollout is how the change reaches the devices.
	Rollout Rollout `json:"rollout"`
	// Bytes of the module that are delivered to devices, at most.
	Bytes int64 `json:"bytes"`
	// Suspended is true when nothing is issued.
	Suspended bool `json:"suspended"`
	// PermissionsGained and PermissionsLost differ from the base commit's; all of a new application's are gained.
	PermissionsGained []string `json:"permissionsGained"`
	PermissionsLost   []string `json:"permissionsLost"`
}

// Step is a device, of the application's namespace, and when it is served.
type Step struct {
	Device string `json:"device"`
	// Wave counts from 1.
	Wave int `json:"wave"`
}

// Rollout is how a change reaches devices.
type Rollout struct {
	// Waves is how many; 0: nothing is issued.
	Waves int `json:"waves"`
	// Sizes of the waves, in order.
	Sizes []WaveSize `json:"sizes"`
	// MaxUnavailable as in the spec.
	MaxUnavailable string `json:"maxUnavailable"`
	// DeadlineSeconds is how long a wave may take before the rollout stops.
	DeadlineSeconds int64 `json:"deadlineSeconds"`
	// LongestSeconds is how long all waves take when each takes as long as it may.
	LongestSeconds int64 `json:"longestSeconds"`
}

// WaveSize is a number of waves of the same size, one after the other.
type WaveSize struct {
	Devices int `json:"devices"`
	Times   int `json:"times"`
}

// Devices are what happens to devices. Each is named "namespace/name".
type Devices struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	// Off and On are switched; added and removed devices are not among them.
	Off []string `json:"off"`
	On  []string `json:"on"`
	// Quarantined devices are refused, Released ones no longer.
	Quarantined []string `json:"quarantined"`
	Released    []string `json:"released"`
	// KeysChanged are devices that may connect with other keys than before.
	KeysChanged []string `json:"keysChanged"`
	// Moves are changed pins to a gateway.
	Moves []Move `json:"moves"`
	// Before is how many devices there were.
	Before int `json:"before"`
}

// Move is a device with another pin.
type Move struct {
	Device string `json:"device"`
	// From and To are "namespace/name" of gateways; empty: assigned by the installation.
	From string `json:"from"`
	To   string `json:"to"`
}

// Module is a module that is new or differs.
type Module struct {
	// Applications that it is for, as "namespace/name".
	Applications []string `json:"applications"`
	Path         string   `json:"path"`
	// Before is empty for a new application.
	Before ModuleFacts `json:"before"`
	After  ModuleFacts `json:"after"`
	// ImportsGained and the like are functions as "env.name".
	ImportsGained []string `json:"importsGained"`
	ImportsLost   []string `json:"importsLost"`
	ExportsGained []string `json:"exportsGained"`
	ExportsLost   []string `json:"exportsLost"`
	// Grown are the functions with a name that grew most, in bytes of code.
	Grown []Function `json:"grown"`
	// RAM on each board that the applications select.
	RAM []ModuleRAM `json:"ram"`
}

// ModuleFacts are what is known of one version of a module.
type ModuleFacts struct {
	// Digest is empty when there is no such version.
	Digest string `json:"digest"`
	// Size of the file and CodeSize of its functions, in bytes.
	Size     int64 `json:"size"`
	CodeSize int64 `json:"codeSize"`
	// Memory is the linear memory at the start, in bytes.
	Memory int64 `json:"memory"`
	// RAM that one instance takes on a device under the application's limits, in bytes; 0: not known.
	RAM int64 `json:"ram"`
	// TrialFuel is what the start costs until the app first waits or ends, in units of the board's runtime, with host
	// functions that answer 0; 0: not known.
	TrialFuel int64 `json:"trialFuel"`
	// TrialEnd says how the trial start ended: waits, ends, traps, goes on.
	TrialEnd string `json:"trialEnd"`
}

// Function is a function of a module.
type Function struct {
	Name   string `json:"name"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
}

// ModuleRAM is what a module takes on a board, in whole blocks of the board.
type ModuleRAM struct {
	Board  string `json:"board"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	// Limit is what the board has for all apps together.
	Limit int64 `json:"limit"`
}

// Board is the fullest device of a board, before and afterwards.
type Board struct {
	Board string `json:"board"`
	// Devices is how many have the board.
	Devices int `json:"devices"`
	// Fullest is the device with the most memory taken, as "namespace/name".
	Fullest string `json:"fullest"`
	// Memory for apps that is taken there, in bytes; MemoryBefore on the then fullest; MemoryLimit is the board's.
	MemoryBefore int64 `json:"memoryBefore"`
	Memory       int64 `json:"memory"`
	MemoryLimit  int64 `json:"memoryLimit"`
	// Apps on the device with the most of them.
	AppsBefore int `json:"appsBefore"`
	Apps       int `json:"apps"`
	AppsLimit  int `json:"appsLimit"`
	// Storage of modules on the device with the most of it.
	StorageBefore int64 `json:"storageBefore"`
	Storage       int64 `json:"storage"`
	StorageLimit  int64 `json:"storageLimit"`
	// Full is how many devices have 90 % of a limit taken.
	FullBefore int `json:"fullBefore"`
	Full       int `json:"full"`
}

// Prune is what the brake on removals says.
type Prune struct {
	// Needed is true when the commit that brings the change must carry the trailer.
	Needed bool `json:"needed"`
	// Blocked is true when the head commit's message lacks it. A working tree has no message.
	Blocked bool `json:"blocked"`
	// Trailer is the line to put at the end of the commit message.
	Trailer string `json:"trailer"`
	// Removed is how many objects go.
	Removed int `json:"removed"`
}
