// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/devices/boards"
)

// ObjectReader reads one object as it is now.
type ObjectReader interface {
	Get(ctx context.Context, kind fleet.Kind, namespace, name string, into runtime.Object) error
}

// Gateways asks the gateways of the installation. Addresses are those of Gateway.status.httpAddress.
type Gateways interface {
	Device(ctx context.Context, address, namespace, name string) (*Live, []Crash, error)
	Metrics(ctx context.Context, address, namespace, name string) (*History, error)
	Gateway(ctx context.Context, address string) (*GatewayLive, error)
}

// liveInterval is how often a gateway is asked while somebody looks at what only it knows.
const liveInterval = 5 * time.Second

var values = map[string]*valueView{
	"overview": {kinds: []fleet.Kind{fleet.Repositories, fleet.Commits, fleet.Applications, fleet.Devices, fleet.Instances, fleet.Gateways, fleet.Problems}, compute: overview},
	"topology": {params: []string{"group", "search", "namespace", "phase", "state", "board", "backend", "gateway", "application", "label"},
		kinds: []fleet.Kind{fleet.Devices, fleet.Gateways}, compute: topology},
	"facets":      {kinds: []fleet.Kind{fleet.Devices}, compute: facets},
	"commit":      {params: []string{"repository"}, required: []string{"commit"}, kinds: []fleet.Kind{fleet.Commits}, compute: commit},
	"application": {required: []string{"namespace", "name"}, about: about(fleet.Applications), compute: application},
	"device":      {required: []string{"namespace", "name"}, about: about(fleet.Devices), refresh: liveInterval, compute: device},
	"gateway":     {required: []string{"namespace", "name"}, about: about(fleet.Gateways), refresh: liveInterval, compute: gateway},
	"metrics":     {required: []string{"namespace", "name"}, refresh: liveInterval, compute: metrics},
	"system":      {refresh: liveInterval, compute: system},
}

func about(kind fleet.Kind) func(Params) (fleet.Kind, string) {
	return func(p Params) (fleet.Kind, string) { return kind, p["namespace"] + "/" + p["name"] }
}

// Condition of an object.
type Condition struct {
	Type    string       `json:"type"`
	Status  string       `json:"status"`
	Reason  string       `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	Since   fleet.Moment `json:"since,omitempty"`
}

func conditions(from []metav1.Condition) []Condition {
	to := []Condition{}
	for _, c := range from {
		to = append(to, Condition{c.Type, string(c.Status), c.Reason, c.Message, fleet.MomentOf(c.LastTransitionTime.Time)})
	}
	return to
}

// rowOf finds the row of the object that is asked for.
func rowOf[R fleet.Row](e *Engine, kind fleet.Kind, p Params, scope fleet.Scope) (R, error) {
	id := p["namespace"] + "/" + p["name"]
	row, ok := e.Store.Get(kind, id, scope).(R)
	if !ok {
		return row, fmt.Errorf("%w: there is no %s %.130q that you may see", ErrNotFound, strings.TrimSuffix(string(kind), "s"), id)
	}
	return row, nil
}

func (e *Engine) object(ctx context.Context, kind fleet.Kind, p Params, into runtime.Object) error {
	err := e.Objects.Get(ctx, kind, p["namespace"], p["name"], into)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: it was removed a moment ago", ErrNotFound)
	case err != nil:
		return fmt.Errorf("%w: the API server does not answer", ErrUnavailable)
	}
	return nil
}

// CommitDetail is one commit from push to running.
type CommitDetail struct {
	*fleet.Commit
	*fleet.CommitDetail
}

func commit(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	const leastDigits = 4
	if len(p["commit"]) < leastDigits {
		return nil, badRequest("give at least %d digits of the commit", leastDigits)
	}
	var found []*fleet.Commit
	for _, c := range collect[*fleet.Commit](e, fleet.Commits, scope, fleet.ByTime) {
		if strings.HasPrefix(c.Commit, p["commit"]) && (p["repository"] == "" || p["repository"] == c.Repository) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%w: no repository has commit %.40q among its last revisions", ErrNotFound, p["commit"])
	case found[0].Commit != found[len(found)-1].Commit:
		return nil, badRequest("more than one commit begins with %.40q", p["commit"])
	}
	detail := *found[0].Detail
	detail.Modules = slices.Clone(detail.Modules)
	if e.Modules != nil {
		for i := range detail.Modules {
			m := &detail.Modules[i]
			if imports, memory, size, err := e.Modules(ctx, m.Digest); err == nil {
				m.Imports, m.MemoryBytes, m.Size = imports, memory, size
			}
		}
	}
	return &CommitDetail{found[0], &detail}, nil
}

// Limits of an application.
type Limits struct {
	Memory int64 `json:"memory"`
	Stack  int64 `json:"stack"`
	Fuel   int64 `json:"fuel"`
}

// Wave is a part of a rollout: instances that were issued together.
type Wave struct {
	Wave          int          `json:"wave"`
	At            fleet.Moment `json:"at"`
	Devices       int          `json:"devices"`
	Running       int          `json:"running"`
	Failed        int          `json:"failed"`
	Waiting       int          `json:"waiting"`
	LastRunningAt fleet.Moment `json:"lastRunningAt,omitempty"`
}

// ApplicationDetail is one application and its rollout.
type ApplicationDetail struct {
	*fleet.Application
	Source                  string            `json:"source,omitempty"`
	Selector                string            `json:"selector,omitempty"`
	Config                  map[string]string `json:"config,omitempty"`
	Permissions             []string          `json:"permissions,omitempty"`
	Limits                  Limits            `json:"limits"`
	RestartPolicy           string            `json:"restartPolicy,omitempty"`
	MaxUnavailable          string            `json:"maxUnavailable,omitempty"`
	ProgressDeadlineSeconds float64           `json:"progressDeadlineSeconds,omitempty"`
	Conditions              []Condition       `json:"conditions"`
	Phases                  map[string]int    `json:"phases"`
	Waves                   []Wave            `json:"waves"`
	Waiting                 int               `json:"waiting"`
}

func application(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	row, err := rowOf[*fleet.Application](e, fleet.Applications, p, scope)
	if err != nil {
		return nil, err
	}
	o := &v1alpha1.Application{}
	if err := e.object(ctx, fleet.Applications, p, o); err != nil {
		return nil, err
	}
	d := &ApplicationDetail{Application: row, Source: o.Annotations[v1alpha1.AnnotationSource], Selector: selectorText(&o.Spec.Selector),
		Config: config(o.Spec.Config), Conditions: conditions(o.Status.Conditions), RestartPolicy: string(o.Spec.RestartPolicy), Phases: map[string]int{}, Waves: []Wave{}}
	for _, permission := range o.Spec.Permissions {
		d.Permissions = append(d.Permissions, string(permission))
	}
	d.Limits.Fuel = o.Spec.Limits.Fuel
	if m := o.Spec.Limits.Memory; m != nil {
		d.Limits.Memory = int64(*m)
	}
	if s := o.Spec.Limits.Stack; s != nil {
		d.Limits.Stack = int64(*s)
	}
	if most := o.Spec.Rollout.MaxUnavailable; most != nil {
		d.MaxUnavailable = most.String()
	}
	if deadline := o.Spec.Rollout.ProgressDeadline; deadline != nil {
		d.ProgressDeadlineSeconds = deadline.Seconds()
	}
	var issued []*fleet.Instance
	e.Store.Each(fleet.Instances, scope, func(r fleet.Row) {
		i := r.(*fleet.Instance)
		if i.Application != row.ID {
			return
		}
		d.Phases[i.Phase]++
		if row.RolloutStartedAt != 0 && i.IssuedAt >= row.RolloutStartedAt {
			issued = append(issued, i)
		}
	})
	d.Waves = waves(issued)
	d.Waiting = max(0, int(row.Target)-max(len(issued), int(row.Updated))) // a device that overrides what changed keeps its instance
	return d, nil
}

func config(from v1alpha1.ConfigValues) map[string]string {
	to := map[string]string{}
	for key, value := range from {
		to[key] = string(value)
	}
	return to
}

// waveGap is how much later than the instance before it the first one of a wave is issued, at least.
const waveGap = 30_000 // microseconds

// waves tells instances apart by when they were issued: a wave begins when all of those before run or have failed.
func waves(issued []*fleet.Instance) []Wave {
	slices.SortFunc(issued, func(a, b *fleet.Instance) int { return int(a.IssuedAt - b.IssuedAt) })
	found := []Wave{}
	var before *fleet.Instance
	for _, i := range issued {
		if before == nil || i.IssuedAt-before.IssuedAt > waveGap && i.IssuedAt >= found[len(found)-1].LastRunningAt {
			found = append(found, Wave{Wave: len(found) + 1, At: i.IssuedAt})
		}
		w := &found[len(found)-1]
		w.Devices++
		switch i.State {
		case fleet.StateOK:
			w.Running++
			w.LastRunningAt = max(w.LastRunningAt, i.RunningAt)
		case fleet.StateError:
			w.Failed++
		default:
			w.Waiting++
		}
		before = i
	}
	return found
}

// Connection is what a gateway recorded of a device.
type Connection struct {
	Gateway   string       `json:"gateway"`
	Connected bool         `json:"connected"`
	Since     fleet.Moment `json:"since,omitempty"`
	Firmware  string       `json:"firmware,omitempty"`
	Board     string       `json:"board,omitempty"`
	Protocol  int32        `json:"protocol,omitempty"`
	Memory    int64        `json:"memory,omitempty"`
	Boots     int64        `json:"boots,omitempty"`
	LastCrash string       `json:"lastCrash,omitempty"`
}

// BackendStatus is how a virtual board is.
type BackendStatus struct {
	Phase    string `json:"phase"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	LastExit string `json:"lastExit,omitempty"`
	Launches int64  `json:"launches,omitempty"`
	Console  bool   `json:"console"`
}

// BoardFacts are what the catalogue says of a board.
type BoardFacts struct {
	Title              string   `json:"title"`
	Core               string   `json:"core"`
	FPU                bool     `json:"fpu"`
	FlashBytes         int64    `json:"flashBytes"`
	RAMBytes           int64    `json:"ramBytes"`
	AppMemoryBytes     int64    `json:"appMemoryBytes"`
	MaxApps            int      `json:"maxApps"`
	MaxModuleBytes     int64    `json:"maxModuleBytes"`
	ModuleStorageBytes int64    `json:"moduleStorageBytes"`
	Connection         string   `json:"connection"`
	Permissions        []string `json:"permissions"`
}

// Live is what the gateway knows of a device at this moment.
type Live struct {
	Connected   bool              `json:"connected"`
	Remote      string            `json:"remote,omitempty"`
	Uptime      uint64            `json:"uptime,omitempty"`
	HeartbeatAt *time.Time        `json:"heartbeatAt,omitempty"`
	Generation  uint64            `json:"generation"`
	InSync      bool              `json:"inSync"`
	BytesIn     int64             `json:"bytesIn"`
	BytesOut    int64             `json:"bytesOut"`
	Metrics     map[string]uint64 `json:"metrics,omitempty"`
	Apps        []LiveApp         `json:"apps"`
}

// LiveApp is one app in Live.
type LiveApp struct {
	Name     string           `json:"name"`
	Phase    string           `json:"phase"`
	Reason   string           `json:"reason,omitempty"`
	Message  string           `json:"message,omitempty"`
	Restarts uint32           `json:"restarts"`
	Fuel     uint64           `json:"fuel,omitempty"`
	Memory   uint32           `json:"memory,omitempty"`
	Stack    uint32           `json:"stack,omitempty"`
	Values   map[string]int64 `json:"values,omitempty"`
}

// Crash is a crash report of a device.
type Crash struct {
	At      time.Time `json:"at"`
	Code    string    `json:"code"`
	PC      uint32    `json:"pc,omitempty"`
	LR      uint32    `json:"lr,omitempty"`
	Address uint32    `json:"address,omitempty"`
	App     string    `json:"app,omitempty"`
	Uptime  uint64    `json:"uptime,omitempty"`
}

// DeviceDetail is all that is known of a device.
type DeviceDetail struct {
	*fleet.Device
	Source        string                       `json:"source,omitempty"`
	Power         string                       `json:"power"`
	Quarantine    bool                         `json:"quarantine"`
	Config        map[string]map[string]string `json:"config,omitempty"`
	Conditions    []Condition                  `json:"conditions"`
	Instances     []*fleet.Instance            `json:"instances"`
	Connection    *Connection                  `json:"connection,omitempty"`
	BackendStatus *BackendStatus               `json:"backendStatus,omitempty"`
	BoardFacts    *BoardFacts                  `json:"boardFacts,omitempty"`
	Live          *Live                        `json:"live,omitempty"`
	Crashes       []Crash                      `json:"crashes,omitempty"`
	LiveError     string                       `json:"liveError,omitempty"`
}

func device(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	row, err := rowOf[*fleet.Device](e, fleet.Devices, p, scope)
	if err != nil {
		return nil, err
	}
	o := &v1alpha1.Device{}
	if err := e.object(ctx, fleet.Devices, p, o); err != nil {
		return nil, err
	}
	d := &DeviceDetail{Device: row, Source: o.Annotations[v1alpha1.AnnotationSource], Power: string(o.Spec.Power), Quarantine: o.Spec.Quarantine,
		Conditions: conditions(o.Status.Conditions), Instances: []*fleet.Instance{}, BoardFacts: boardFacts(o.Spec.Board)}
	for application, values := range o.Spec.Config {
		if d.Config == nil {
			d.Config = map[string]map[string]string{}
		}
		d.Config[application] = config(values)
	}
	for _, application := range row.Applications {
		_, name, _ := strings.Cut(application, "/")
		if i, ok := e.Store.Get(fleet.Instances, o.Namespace+"/"+v1alpha1.InstanceName(name, o.Name), scope).(*fleet.Instance); ok {
			d.Instances = append(d.Instances, i)
		}
	}
	slices.SortFunc(d.Instances, func(a, b *fleet.Instance) int { return fleet.Natural(a.ID, b.ID) })
	if c := o.Status.Connection; c != nil {
		d.Connection = &Connection{Gateway: strings.Replace(c.Gateway, ".", "/", 1), Connected: c.Connected, Firmware: c.Firmware, Board: c.Board, Protocol: c.Protocol,
			Memory: c.Memory, Boots: c.Boots, LastCrash: c.LastCrash}
		if c.Since != nil {
			d.Connection.Since = fleet.MomentOf(c.Since.Time)
		}
	}
	if b := o.Status.Backend; b != nil {
		d.BackendStatus = &BackendStatus{b.Phase, b.Reason, b.Message, b.LastExit, b.Launches, b.Console != ""}
	}
	d.addLive(ctx, e)
	return d, nil
}

func boardFacts(name string) *BoardFacts {
	b, ok := boards.Get(name)
	if !ok {
		return nil
	}
	return &BoardFacts{b.Title, b.Core, b.FPU, b.FlashBytes, b.RAMBytes, b.AppMemoryBytes, b.MaxApps, b.MaxModuleBytes, b.ModuleStorageBytes, string(b.Connection), b.Permissions}
}

func (d *DeviceDetail) addLive(ctx context.Context, e *Engine) {
	address, err := e.addressOf(d.Device)
	if err == nil {
		d.Live, d.Crashes, err = e.Gateways.Device(ctx, address, d.Device.Metadata.Namespace, d.Device.Metadata.Name)
	}
	if err != nil {
		d.LiveError = Plain(err)
	}
}

// Plain is an error's text for a person, without the class that callers tell apart.
func Plain(err error) string {
	text := err.Error()
	for _, class := range []error{ErrBadRequest, ErrNotFound, ErrUnavailable} {
		if errors.Is(err, class) {
			text = strings.TrimPrefix(text, class.Error()+": ")
		}
	}
	return text
}

// addressOf finds where a device's gateway answers.
func (e *Engine) addressOf(d *fleet.Device) (string, error) {
	if e.Gateways == nil {
		return "", fmt.Errorf("%w: the dashboard has no identity to ask gateways with", ErrUnavailable)
	}
	if d.Gateway == "" {
		return "", fmt.Errorf("%w: the device has no gateway", ErrUnavailable)
	}
	g, ok := e.Store.Get(fleet.Gateways, d.Gateway, fleet.Everything()).(*fleet.Gateway)
	if !ok || g.HTTPAddress == "" {
		return "", fmt.Errorf("%w: gateway %s does not run", ErrUnavailable, d.Gateway)
	}
	return g.HTTPAddress, nil
}

// GatewayLimits bound what a gateway takes on.
type GatewayLimits struct {
	Devices          int32 `json:"devices"`
	Handshakes       int32 `json:"handshakes"`
	AcceptRate       int32 `json:"acceptRate"`
	HeartbeatSeconds int32 `json:"heartbeatSeconds"`
}

// Certificate that a gateway shows.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Refused is a key that a gateway did not admit.
type Refused struct {
	Key    string    `json:"key"`
	Remote string    `json:"remote"`
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
}

// History are series with one point a step; a point that is not known is nil.
type History struct {
	Start  time.Time             `json:"start"`
	Step   int                   `json:"step"`
	Series map[string][]*float64 `json:"series"`
}

// GatewayLive is what only the gateway itself knows.
type GatewayLive struct {
	Certificate *Certificate
	Refused     []Refused
	History     *History
}

// GatewayDetail is all that is known of a gateway.
type GatewayDetail struct {
	*fleet.Gateway
	Conditions        []Condition   `json:"conditions"`
	Limits            GatewayLimits `json:"limits"`
	AllowedNamespaces []string      `json:"allowedNamespaces,omitempty"`
	Certificate       *Certificate  `json:"certificate,omitempty"`
	Refused           []Refused     `json:"refused,omitempty"`
	History           *History      `json:"history,omitempty"`
	LiveError         string        `json:"liveError,omitempty"`
}

func gateway(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	row, err := rowOf[*fleet.Gateway](e, fleet.Gateways, p, scope)
	if err != nil {
		return nil, err
	}
	o := &v1alpha1.Gateway{}
	if err := e.object(ctx, fleet.Gateways, p, o); err != nil {
		return nil, err
	}
	l := o.Spec.Limits
	d := &GatewayDetail{Gateway: row, Conditions: conditions(o.Status.Conditions), AllowedNamespaces: o.Spec.AllowedNamespaces,
		Limits: GatewayLimits{l.Devices, l.Handshakes, l.AcceptRate, l.HeartbeatSeconds}}
	live, err := e.gatewayLive(ctx, row)
	if err != nil {
		d.LiveError = Plain(err)
		return d, nil
	}
	d.Certificate, d.Refused, d.History = live.Certificate, live.Refused, live.History
	return d, nil
}

func (e *Engine) gatewayLive(ctx context.Context, g *fleet.Gateway) (*GatewayLive, error) {
	switch {
	case e.Gateways == nil:
		return nil, fmt.Errorf("%w: the dashboard has no identity to ask gateways with", ErrUnavailable)
	case g.HTTPAddress == "":
		return nil, fmt.Errorf("%w: the gateway does not run", ErrUnavailable)
	}
	return e.Gateways.Gateway(ctx, g.HTTPAddress)
}

// Metrics is the history of one device.
type Metrics struct {
	Device string `json:"device"`
	*History
}

func metrics(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	row, err := rowOf[*fleet.Device](e, fleet.Devices, p, scope)
	if err != nil {
		return nil, err
	}
	address, err := e.addressOf(row)
	if err != nil {
		return nil, err
	}
	history, err := e.Gateways.Metrics(ctx, address, row.Metadata.Namespace, row.Metadata.Name)
	if err != nil {
		return nil, err
	}
	return &Metrics{row.ID, history}, nil
}

// selectorText is a selector in the words of kubectl; one that is empty selects all.
func selectorText(s *metav1.LabelSelector) string {
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return "every device of the namespace"
	}
	return metav1.FormatLabelSelector(s)
}
