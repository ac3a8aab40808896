// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/boards"
)

// fitting says on which devices an Application fits beside the others that select the same device. The older one has
// the right of way (then the name decides), so that two that do not fit together never both come or go.
type fitting struct {
	app *v1alpha1.Application
	// demands of all Applications of the namespace, oldest first.
	demands []demand
	boards  map[string]*onBoard
}

// demand is what one Application takes of each device that it selects.
type demand struct {
	ours     bool
	bytes    int64
	selector labels.Selector
}

// onBoard is what is known for all devices with one board.
type onBoard struct {
	boards.Board
	// never: the app fits no such board; always: even all Applications together fit one.
	never, always bool
}

func newFitting(app *v1alpha1.Application, others []*v1alpha1.Application) *fitting {
	all := append(slices.Clone(others), app)
	slices.SortFunc(all, func(a, b *v1alpha1.Application) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	f := &fitting{app: app, boards: map[string]*onBoard{}}
	for _, other := range all {
		if other != app && (other.DeletionTimestamp != nil || other.Name == app.Name) {
			continue
		}
		d := demand{ours: other == app, bytes: Memory(&other.Spec)}
		if !d.ours {
			var err error
			if d.selector, err = metav1.LabelSelectorAsSelector(&other.Spec.Selector); err != nil {
				continue // the schema admits none such
			}
		}
		f.demands = append(f.demands, d)
	}
	return f
}

// Memory is what an Application takes of a device's memory for applications, in bytes, before it is rounded up to the
// board's blocks.
func Memory(spec *v1alpha1.ApplicationSpec) int64 {
	return int64(*orDefault(spec.Limits.Memory, defaultMemory)) + int64(*orDefault(spec.Limits.Stack, defaultStack))
}

func (f *fitting) on(device *v1alpha1.Device) bool {
	board, ok := f.boards[device.Spec.Board]
	if !ok {
		board = f.judge(device.Spec.Board)
		f.boards[device.Spec.Board] = board
	}
	if board.never || board.always {
		return board.always
	}
	left, apps := board.AppMemoryBytes, 0
	for _, d := range f.demands {
		if !d.ours && !d.selector.Matches(labels.Set(device.Labels)) {
			continue
		}
		need := board.Blocks(d.bytes)
		if need > left || apps == board.MaxApps {
			if d.ours {
				return false
			}
			continue // that one is not there either
		}
		if d.ours {
			return true
		}
		left, apps = left-need, apps+1
	}
	return false
}

// judge looks at a board once, so that the usual case costs nothing for each device.
func (f *fitting) judge(name string) *onBoard {
	board, ok := boards.Get(name)
	if !ok {
		return &onBoard{never: true}
	}
	out := &onBoard{Board: board}
	var all int64
	for _, d := range f.demands {
		all += board.Blocks(d.bytes)
		if d.ours && board.Blocks(d.bytes) > board.AppMemoryBytes {
			out.never = true
		}
	}
	out.never = out.never || f.app.Spec.Module.Size > board.MaxModuleBytes
	out.always = !out.never && all <= board.AppMemoryBytes && len(f.demands) <= board.MaxApps
	return out
}

// equal tells whether two specs ask a device for the same. It is called for every Instance of an Application each
// time one of them changes, hence by hand.
func equal(a, b *v1alpha1.InstanceSpec) bool {
	return a.Device == b.Device && a.Application == b.Application && a.Digest == b.Digest && a.Size == b.Size &&
		a.RestartPolicy == b.RestartPolicy && a.Limits.Fuel == b.Limits.Fuel &&
		same(a.Limits.Memory, b.Limits.Memory) && same(a.Limits.Stack, b.Limits.Stack) && same(a.Artifact, b.Artifact) &&
		slices.Equal(a.Permissions, b.Permissions) && maps.Equal(a.Config, b.Config)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
