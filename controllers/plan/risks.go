// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// Rule is one reason to look twice at a change.
type Rule struct {
	// Name in policy.yaml.
	Name string
	// Level unless policy.yaml says otherwise.
	Level string
	// Doc says when it applies.
	Doc string
}

// Names of rules.
const (
	RulePermissionsGained  = "permissions-gained"
	RuleAllAtOnce          = "all-at-once"
	RuleNoFirstWave        = "no-first-wave"
	RuleNoLimits           = "no-limits"
	RuleBoardFull          = "board-full"
	RuleDevicesRemoved     = "devices-removed"
	RuleDevicesOff         = "devices-off"
	RuleDevicesQuarantined = "devices-quarantined"
	RuleDevicesDeselected  = "devices-deselected"
	RuleDevicesExcluded    = "devices-excluded"
	RuleKeysChanged        = "keys-changed"
	RuleGatewayMoved       = "gateway-moved"
	RuleGatewayRemoved     = "gateway-removed"
	RuleGatewayOpened      = "gateway-opened"
	RuleNamespaceRemoved   = "namespace-removed"
	RuleApplicationRemoved = "application-removed"
	RuleSuspended          = "suspended"
	RulePruneBrake         = "prune-brake"
	RuleTrialTraps         = "trial-traps"
	RuleBaseRefused        = "base-refused"
	RulePolicyRelaxed      = "policy-relaxed"
)

// noFirstWavePercent is the share of devices above which the first wave tries nothing out any more; small fleets,
// below noFirstWaveDevices, are left alone.
const (
	noFirstWavePercent = 25
	noFirstWaveDevices = 8
)

// Rules are all of them, in the order in which risks are told.
var Rules = []Rule{
	{RulePermissionsGained, LevelWarn, "An Application that was there gets a permission that it did not have."},
	{RuleAllAtOnce, LevelWarn, "One wave takes all of an Application's devices, and there are at least two: a fault stops them all."},
	{RuleNoFirstWave, LevelWarn, "The first wave takes more than a quarter of at least eight devices, so that it tries nothing out before many have it."},
	{RuleNoLimits, LevelWarn, "An Application that is new, or has a new module or limits, gives no limits.memory or no limits.fuel: it takes the default memory, or all the time that is left over."},
	{RuleBoardFull, LevelWarn, "More devices than before have 90 % of their memory for apps, of their storage of modules, or all places for apps taken."},
	{RulePruneBrake, LevelWarn, "The brake on removals stops the commit unless its message carries the trailer."},
	{RuleDevicesRemoved, LevelWarn, "Devices leave the fleet."},
	{RuleDevicesOff, LevelWarn, "Devices are switched off."},
	{RuleDevicesQuarantined, LevelWarn, "Devices are quarantined: their connections are refused."},
	{RuleDevicesDeselected, LevelWarn, "Devices that stay in the fleet lose an Application that stays too."},
	{RuleDevicesExcluded, LevelWarn, "An Application does not fit devices that its selector matches."},
	{RuleKeysChanged, LevelWarn, "The public keys with which devices may connect change."},
	{RuleGatewayMoved, LevelWarn, "Devices are pinned to another gateway than before."},
	{RuleGatewayRemoved, LevelWarn, "A Gateway goes; devices without a pin move to another one."},
	{RuleGatewayOpened, LevelWarn, "A Gateway serves namespaces that it did not serve."},
	{RuleNamespaceRemoved, LevelWarn, "A Namespace goes, with everything in it."},
	{RuleApplicationRemoved, LevelWarn, "An Application goes."},
	{RuleSuspended, LevelWarn, "An Application that changes is suspended, so that the change does not reach its devices; or it no longer is."},
	{RuleTrialTraps, LevelWarn, "A new module traps when it is started on trial, with host functions that answer 0."},
	{RuleBaseRefused, LevelWarn, "The base commit is itself refused, so that the fleet runs an older one."},
	{RulePolicyRelaxed, LevelWarn, "policy.yaml becomes laxer: a lower level, or a check that goes or changes."},
}

func (c *computation) risk(rule, subject, format string, args ...any) {
	i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Name == rule })
	if i < 0 {
		panic("internal error: no rule " + rule)
	}
	c.report.Risks = append(c.report.Risks, Risk{
		Rule: rule, Level: Rules[i].Level, Subject: subject, Message: fmt.Sprintf(format, args...),
	})
}

// risks finds every risk, whatever the policy makes of it.
func (c *computation) risks() {
	for i := range c.risky {
		c.applicationRisks(&c.risky[i])
	}
	c.deviceRisks()
	c.objectRisks()
	for _, b := range c.report.Boards {
		if b.Full > b.FullBefore {
			c.risk(RuleBoardFull, "Board "+b.Board, "%s of %d are at least %d %% full, %d before; the fullest, %s, has %d of %d bytes of memory and %d of %d places for apps taken",
				count(b.Full, "device"), b.Devices, fullPercent, b.FullBefore, b.Fullest, b.Memory, b.MemoryLimit, b.Apps, b.AppsLimit)
		}
	}
	if p := c.report.Prune; p.Needed && (p.Blocked || c.in.HeadRevision.Commit == "") {
		c.risk(RulePruneBrake, "", "%s go: the controllers apply nothing of this unless the commit message ends with the line %s", count(p.Removed, "object"), p.Trailer)
	}
	for _, m := range c.report.Modules {
		if m.After.TrialEnd == "traps" {
			c.risk(RuleTrialTraps, "Application "+m.Applications[0], "the module %s traps in a trial start after %d units of fuel", m.Path, m.After.TrialFuel)
		}
	}
	if c.in.Base.Refused() {
		c.risk(RuleBaseRefused, "", "the base commit is refused by the controllers, so the fleet runs an older one")
	}
	order := func(r Risk) int { return slices.IndexFunc(Rules, func(rule Rule) bool { return rule.Name == r.Rule }) }
	slices.SortStableFunc(c.report.Risks, func(a, b Risk) int { return order(a) - order(b) })
}

func (c *computation) applicationRisks(a *riskyApp) {
	out := a.report
	subject := "Application " + deviceName(out.Namespace, out.Name)
	if a.base != nil && a.head != nil && len(out.PermissionsGained) > 0 {
		c.risk(RulePermissionsGained, subject, "it gets the permission %s", strings.Join(out.PermissionsGained, ", "))
	}
	issued := len(out.Gets) + len(out.Restarts) + len(out.MayGet)
	if a.specChanged && out.Rollout.Waves > 0 {
		first := out.Rollout.Sizes[0].Devices
		switch {
		case out.Rollout.Waves == 1 && issued == out.Devices-out.Waiting && issued > 1:
			c.risk(RuleAllAtOnce, subject, "one wave takes all %d devices (maxUnavailable is %s)", issued, out.Rollout.MaxUnavailable)
		case issued >= noFirstWaveDevices && first*100 > issued*noFirstWavePercent:
			c.risk(RuleNoFirstWave, subject, "the first wave takes %d of %d devices (maxUnavailable is %s)", first, issued, out.Rollout.MaxUnavailable)
		}
	}
	if a.head != nil && a.specChanged {
		c.limitRisk(a, subject)
	}
	if n := len(out.Loses); n > 0 && a.head != nil {
		c.risk(RuleDevicesDeselected, subject, "%s it: its selector does not match them any more", verb(n, "loses", "lose"))
	}
	if out.Excluded > 0 {
		c.risk(RuleDevicesExcluded, subject, "%s that it selects have no room for it", count(out.Excluded, "device"))
	}
	switch {
	case a.head == nil:
		c.risk(RuleApplicationRemoved, subject, "it goes from %s", count(len(out.Loses)+len(out.Leaves), "device"))
	case a.specChanged && a.head.Spec.Suspend:
		c.risk(RuleSuspended, subject, "it is suspended: %s would change and do not", count(out.Held, "device"))
	case a.base != nil && a.base.Spec.Suspend && !a.head.Spec.Suspend:
		c.risk(RuleSuspended, subject, "it is no longer suspended: what was held up reaches up to %s", count(len(out.MayGet), "device"))
	}
}

// limitRisk looks at what the manifest itself says, before defaults.
func (c *computation) limitRisk(a *riskyApp, subject string) {
	if a.base != nil && a.base.Spec.Module.Digest == a.head.Spec.Module.Digest && sameLimits(a.base, a.head) {
		return
	}
	o := c.in.Head.Get(fleet.ID{Kind: "Application", Namespace: a.head.Namespace, Name: a.head.Name})
	var manifest struct {
		Spec struct {
			Limits struct {
				Memory *int64 `json:"memory"`
				Fuel   int64  `json:"fuel"`
			} `json:"limits"`
		} `json:"spec"`
	}
	if o == nil || json.Unmarshal(o.JSON, &manifest) != nil {
		return
	}
	var missing []string
	if manifest.Spec.Limits.Memory == nil {
		missing = append(missing, "limits.memory (it gets the default)")
	}
	if manifest.Spec.Limits.Fuel == 0 {
		missing = append(missing, "limits.fuel (it may use all the time that is left over)")
	}
	if len(missing) > 0 {
		c.risk(RuleNoLimits, subject, "it gives no %s", strings.Join(missing, " and no "))
	}
}

func sameLimits(a, b *v1alpha1.Application) bool {
	return limitsOf(a) == limitsOf(b) && a.Spec.Limits.Fuel == b.Spec.Limits.Fuel
}

func (c *computation) deviceRisks() {
	d := &c.report.Devices
	if n := len(d.Removed); n > 0 {
		c.risk(RuleDevicesRemoved, "", "%s of %d leave the fleet: %s", count(n, "device"), d.Before, few(d.Removed))
	}
	if n := len(d.Off); n > 0 {
		c.risk(RuleDevicesOff, "", "%s switched off: %s", are(n), few(d.Off))
	}
	if n := len(d.Quarantined); n > 0 {
		c.risk(RuleDevicesQuarantined, "", "%s quarantined: %s", are(n), few(d.Quarantined))
	}
	if n := len(d.KeysChanged); n > 0 {
		c.risk(RuleKeysChanged, "", "%s may connect with other keys: %s", count(n, "device"), few(d.KeysChanged))
	}
	if n := len(d.Moves); n > 0 {
		names := make([]string, n)
		for i, m := range d.Moves {
			names[i] = m.Device
		}
		c.risk(RuleGatewayMoved, "", "%s pinned to another gateway: %s", are(n), few(names))
	}
}

func (c *computation) objectRisks() {
	for _, o := range c.changes.Removed {
		switch {
		case o.Gateway != nil:
			c.risk(RuleGatewayRemoved, Text(o.ID.String()), "it goes; its devices move to another gateway that serves their namespace, or are cut off")
		case o.ID.Kind == "Namespace":
			c.risk(RuleNamespaceRemoved, Text(o.ID.String()), "it goes, with everything in it, whether it came from git or not")
		}
	}
	for _, o := range c.changes.Changed {
		older := c.in.Base.Get(o.ID)
		if o.Gateway == nil || older == nil || older.Gateway == nil {
			continue
		}
		if gained := lacking(serves(o.Gateway), serves(older.Gateway)); len(gained) > 0 && !slices.Contains(serves(older.Gateway), "*") {
			c.risk(RuleGatewayOpened, Text(o.ID.String()), "it begins to serve devices of %s", few(texts(gained)))
		}
	}
}

func serves(g *v1alpha1.Gateway) []string {
	if len(g.Spec.AllowedNamespaces) == 0 {
		return []string{g.Namespace}
	}
	return g.Spec.AllowedNamespaces
}

// few names some of a list.
func few(names []string) string {
	const most = 5
	if n := len(names); n > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	}
	return strings.Join(names, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func are(n int) string { return verb(n, "is", "are") }

// verb is "1 device loses" or "2 devices lose".
func verb(n int, one, many string) string {
	if n == 1 {
		return "1 device " + one
	}
	return fmt.Sprintf("%d devices %s", n, many)
}
