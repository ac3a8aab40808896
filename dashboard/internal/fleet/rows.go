// SPDX-License-Identifier: Apache-2.0

// Package fleet is the dashboard's picture of a fleet: one small row for each object, kept current by watches, in
// tables that answer filtered and sorted queries and tell who asked when the answer changes. It keeps no objects.
//
// Rows are immutable once they are in a table: a change puts another row in its place. So a reader needs no lock on
// what it was given, and whether something changed is a comparison of pointers.
package fleet

import (
	"time"
)

// State is the one word by which a row is coloured.
type State string

// States.
const (
	StateOK      State = "ok"
	StateWorking State = "working"
	StateWarning State = "warning"
	StateError   State = "error"
	StateOff     State = "off"
)

// rank sorts what is wrong first.
func (s State) rank() int {
	switch s {
	case StateError:
		return 0
	case StateWarning:
		return 1
	case StateWorking:
		return 2
	case StateOff:
		return 3
	default:
		return 4
	}
}

// Moment is a time in microseconds since 1970; 0 is none.
type Moment int64

// MomentOf is the moment of t.
func MomentOf(t time.Time) Moment {
	if t.IsZero() {
		return 0
	}
	return Moment(t.UnixMicro())
}

// Time is the inverse of MomentOf.
func (m Moment) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// MarshalJSON writes RFC 3339.
func (m Moment) MarshalJSON() ([]byte, error) {
	return m.Time().AppendFormat(make([]byte, 0, 32), `"2006-01-02T15:04:05.999999Z07:00"`), nil
}

// Row is a line of a list.
type Row interface {
	// Key is unique in its table and never changes.
	Key() string
	// Space is the namespace whose readers may see the row.
	Space() string
	// condition is the row's state, for sorting.
	condition() State
}

// Metadata of an object.
type Metadata struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt Moment            `json:"createdAt,omitempty"`
}

// Common is what rows of objects begin with.
type Common struct {
	ID       string   `json:"id"`
	Metadata Metadata `json:"metadata"`
	State    State    `json:"state"`
}

// Key implements Row.
func (c *Common) Key() string { return c.ID }

// Space implements Row.
func (c *Common) Space() string { return c.Metadata.Namespace }

func (c *Common) condition() State { return c.State }

// Judgement is the Ready condition.
type Judgement struct {
	Ready   string `json:"ready"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// Device is a row of the devices.
type Device struct {
	Common
	Phase string `json:"phase"`
	Judgement
	Board      string `json:"board"`
	Backend    string `json:"backend"`
	Gateway    string `json:"gateway,omitempty"`
	Running    int    `json:"running"`
	Wanted     int    `json:"wanted"`
	Connected  bool   `json:"connected"`
	Since      Moment `json:"since,omitempty"`
	Firmware   string `json:"firmware,omitempty"`
	LastCrash  string `json:"lastCrash,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Repository string `json:"repository,omitempty"`
	// Applications with an instance on the device, sorted; for filters only.
	Applications []string `json:"-"`
	// Trouble is when Ready became what it is.
	Trouble Moment `json:"-"`
}

// Instance is a row of the instances.
type Instance struct {
	Common
	Application       string `json:"application"`
	Device            string `json:"device"`
	Phase             string `json:"phase"`
	Reason            string `json:"reason,omitempty"`
	Message           string `json:"message,omitempty"`
	Restarts          int64  `json:"restarts"`
	Digest            string `json:"digest"`
	Revision          string `json:"revision,omitempty"`
	IssuedAt          Moment `json:"issuedAt,omitempty"`
	DeliveredAt       Moment `json:"deliveredAt,omitempty"`
	RunningAt         Moment `json:"runningAt,omitempty"`
	StartMilliseconds *int64 `json:"startMilliseconds,omitempty"`
	// Answered: the device's answer is about the present spec.
	Answered bool `json:"-"`
	// reported is the phase that the device reported, whatever spec it is about.
	reported string
}

// Module of an application.
type Module struct {
	Path   string `json:"path"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
}

// Application is a row of the applications.
type Application struct {
	Common
	Judgement
	Module           Module `json:"module"`
	Revision         string `json:"revision,omitempty"`
	Repository       string `json:"repository,omitempty"`
	Target           int32  `json:"target"`
	Updated          int32  `json:"updated"`
	Running          int32  `json:"running"`
	Failed           int32  `json:"failed"`
	Offline          int32  `json:"offline"`
	Excluded         int32  `json:"excluded,omitempty"`
	Wave             int32  `json:"wave,omitempty"`
	RolloutStartedAt Moment `json:"rolloutStartedAt,omitempty"`
	Suspended        bool   `json:"suspended,omitempty"`
	Trouble          Moment `json:"-"`
}

// Gateway is a row of the gateways.
type Gateway struct {
	Common
	Judgement
	Address     string   `json:"address,omitempty"`
	HTTPAddress string   `json:"httpAddress,omitempty"`
	Endpoints   []string `json:"endpoints,omitempty"`
	Assigned    int32    `json:"assigned"`
	Connected   int32    `json:"connected"`
	Version     string   `json:"version,omitempty"`
	Trouble     Moment   `json:"-"`
}

// Finding is one thing that is wrong with a commit.
type Finding struct {
	Severity string `json:"severity"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	File     string `json:"file,omitempty"`
	Line     int32  `json:"line,omitempty"`
	Column   int32  `json:"column,omitempty"`
	Object   string `json:"object,omitempty"`
}

// ObjectCounts counts objects of a revision.
type ObjectCounts struct {
	Devices      int32 `json:"devices"`
	Gateways     int32 `json:"gateways"`
	Applications int32 `json:"applications"`
	Others       int32 `json:"others"`
}

// Repository is a row of the repositories.
type Repository struct {
	Common
	Judgement
	URL       string        `json:"url,omitempty"`
	Branch    string        `json:"branch,omitempty"`
	Tag       string        `json:"tag,omitempty"`
	Path      string        `json:"path,omitempty"`
	Suspended bool          `json:"suspended,omitempty"`
	Applied   string        `json:"applied,omitempty"`
	Fetched   string        `json:"fetched,omitempty"`
	Subject   string        `json:"subject,omitempty"`
	Objects   *ObjectCounts `json:"objects,omitempty"`
	Findings  []Finding     `json:"findings,omitempty"`
	Trouble   Moment        `json:"-"`
	history   *history
}

// Changes counts what applying a commit wrote.
type Changes struct {
	Created   int32 `json:"created"`
	Changed   int32 `json:"changed"`
	Removed   int32 `json:"removed"`
	Unchanged int32 `json:"unchanged"`
}

// Quantiles of durations in milliseconds.
type Quantiles struct {
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	Max     float64 `json:"max"`
	Slowest string  `json:"slowest,omitempty"`
}

// Stage of a commit.
type Stage struct {
	Name        string     `json:"name"`
	PerInstance bool       `json:"perInstance,omitempty"`
	Count       int        `json:"count"`
	First       Moment     `json:"first,omitempty"`
	Last        Moment     `json:"last,omitempty"`
	SinceStart  *Quantiles `json:"sinceStart,omitempty"`
	Took        *Quantiles `json:"took,omitempty"`
}

// Commit is a row of the commits.
type Commit struct {
	ID          string    `json:"id"`
	Repository  string    `json:"repository"`
	Commit      string    `json:"commit"`
	Author      string    `json:"author,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	State       State     `json:"state"`
	Outcome     string    `json:"outcome"`
	Reason      string    `json:"reason,omitempty"`
	Message     string    `json:"message,omitempty"`
	CommittedAt Moment    `json:"committedAt,omitempty"`
	PushedAt    Moment    `json:"pushedAt,omitempty"`
	FetchedAt   Moment    `json:"fetchedAt,omitempty"`
	CheckedAt   Moment    `json:"checkedAt,omitempty"`
	AppliedAt   Moment    `json:"appliedAt,omitempty"`
	Changes     *Changes  `json:"changes,omitempty"`
	Changed     []string  `json:"changed,omitempty"`
	Instances   int       `json:"instances"`
	Running     int       `json:"running"`
	Failed      int       `json:"failed"`
	Waiting     int       `json:"waiting"`
	Stages      []Stage   `json:"stages,omitempty"`
	Findings    []Finding `json:"findings,omitempty"`
	// Detail is what only the view of one commit shows.
	Detail *CommitDetail `json:"-"`
	space  string
	// order is the commit's place in time.
	order Moment
}

// CommitDetail is what the view of one commit adds.
type CommitDetail struct {
	Applications []CommitApplication `json:"applications,omitempty"`
	Failures     []Failure           `json:"failures,omitempty"`
	MoreFailures int                 `json:"moreFailures,omitempty"`
	DeviceStart  *Quantiles          `json:"deviceStart,omitempty"`
	Modules      []CommitModule      `json:"modules,omitempty"`
}

// CommitApplication is an application's share of a commit.
type CommitApplication struct {
	Name      string     `json:"name"`
	Instances int        `json:"instances"`
	Running   int        `json:"running"`
	Failed    int        `json:"failed"`
	Waiting   int        `json:"waiting"`
	ToRunning *Quantiles `json:"toRunning,omitempty"`
}

// Failure is an instance of a commit that does not run.
type Failure struct {
	Device      string `json:"device"`
	Application string `json:"application"`
	Phase       string `json:"phase"`
	Reason      string `json:"reason,omitempty"`
	Message     string `json:"message,omitempty"`
}

// CommitModule is a module that a commit uses.
type CommitModule struct {
	Digest       string   `json:"digest"`
	Size         int64    `json:"size,omitempty"`
	Path         string   `json:"path,omitempty"`
	Applications []string `json:"applications,omitempty"`
	Imports      []string `json:"imports,omitempty"`
	MemoryBytes  int64    `json:"memoryBytes,omitempty"`
}

// Key implements Row.
func (c *Commit) Key() string { return c.ID }

// Space implements Row.
func (c *Commit) Space() string { return c.space }

func (c *Commit) condition() State { return c.State }

// Reference names an object.
type Reference struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Problem is a row of what is wrong: objects that have the same trouble for the same cause.
type Problem struct {
	ID      string     `json:"id"`
	State   State      `json:"state"`
	Kind    string     `json:"kind"`
	Count   int        `json:"count"`
	Objects []string   `json:"objects"`
	Reason  string     `json:"reason"`
	Message string     `json:"message"`
	Since   Moment     `json:"since,omitempty"`
	Cause   *Reference `json:"cause,omitempty"`
	space   string
}

// Key implements Row.
func (p *Problem) Key() string { return p.ID }

// Space implements Row.
func (p *Problem) Space() string { return p.space }

func (p *Problem) condition() State { return p.State }

// Event is a row of what happened.
type Event struct {
	ID      string `json:"id"`
	Time    Moment `json:"time"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Kind    string `json:"kind"`
	Object  string `json:"object"`
	Message string `json:"message"`
	Who     string `json:"who,omitempty"`
	Code    int32  `json:"code,omitempty"`
	Count   int32  `json:"count"`
	space   string
}

// Key implements Row.
func (e *Event) Key() string { return e.ID }

// Space implements Row.
func (e *Event) Space() string { return e.space }

func (e *Event) condition() State {
	if e.Type == "Warning" {
		return StateWarning
	}
	return StateOK
}
