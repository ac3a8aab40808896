// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/binary"
	"slices"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/devices/boards"
)

// maxPairs is how many pairs of an Application and a Device are looked at to tell how full boards get.
const maxPairs = 20_000_000

// fullPercent of a limit is full.
const fullPercent = 90

// load is what the fullest devices of a board carry.
type load struct {
	devices, full         int
	fullest               string
	memory, storage, apps int64
}

// boards tells how full boards are in the namespaces in which something differs.
func (c *computation) boards() error {
	before, after := map[string]*load{}, map[string]*load{}
	for _, s := range c.spaces {
		c.pairs += len(s.baseDevices)*len(s.baseApps) + len(s.headDevices)*len(s.headApps)
	}
	if c.pairs > maxPairs {
		return nil
	}
	for _, s := range c.spaces {
		if err := c.loads(before, c.in.Base, s.baseDevices, s.baseApps); err != nil {
			return err
		}
		if err := c.loads(after, c.in.Head, s.headDevices, s.headApps); err != nil {
			return err
		}
	}
	for _, b := range boards.All() {
		now := after[b.Name]
		if now == nil {
			continue
		}
		was := before[b.Name]
		if was == nil {
			was = &load{}
		}
		c.report.Boards = append(c.report.Boards, Board{
			Board: b.Name, Devices: now.devices, Fullest: Text(now.fullest),
			MemoryBefore: was.memory, Memory: now.memory, MemoryLimit: b.AppMemoryBytes,
			AppsBefore: int(was.apps), Apps: int(now.apps), AppsLimit: b.MaxApps,
			StorageBefore: was.storage, Storage: now.storage, StorageLimit: b.ModuleStorageBytes,
			FullBefore: was.full, Full: now.full,
		})
	}
	return nil
}

// weight is what a set of Applications takes of a device.
type weight struct {
	memory, storage, apps int64
	full                  bool
}

// loads adds the devices of a namespace. Devices of one board with the same Applications are weighed once.
func (c *computation) loads(into map[string]*load, f *fleet.Fleet, devices []*v1alpha1.Device, apps []*v1alpha1.Application) error {
	sets := c.sets(devices, apps)
	needs := make([]int64, len(apps))
	for i, app := range apps {
		var err error
		if needs[i], err = c.needOf(f, app); err != nil {
			return err
		}
	}
	weights := map[string]weight{}
	var key []byte
	for i, d := range devices {
		board, ok := boards.Get(d.Spec.Board)
		if !ok {
			continue
		}
		key = append(append(key[:0], board.Name...), 0)
		for _, app := range sets[i] {
			key = binary.BigEndian.AppendUint32(key, uint32(app))
		}
		w, ok := weights[string(key)]
		if !ok {
			w = weigh(board, sets[i], apps, needs)
			weights[string(key)] = w
		}
		l := into[board.Name]
		if l == nil {
			l = &load{}
			into[board.Name] = l
		}
		l.devices++
		if w.full {
			l.full++
		}
		if w.memory > l.memory || l.fullest == "" {
			l.memory, l.fullest = w.memory, deviceName(d.Namespace, d.Name)
		}
		l.storage, l.apps = max(l.storage, w.storage), max(l.apps, w.apps)
	}
	return nil
}

// sets are the Applications of each device.
func (c *computation) sets(devices []*v1alpha1.Device, apps []*v1alpha1.Application) [][]int32 {
	index := make(map[*v1alpha1.Device]int, len(devices))
	for i, d := range devices {
		index[d] = i
	}
	out := make([][]int32, len(devices))
	for i, app := range apps {
		for _, d := range selected(app, devices) {
			at := index[d]
			out[at] = append(out[at], int32(i))
		}
	}
	return out
}

func weigh(board boards.Board, set []int32, apps []*v1alpha1.Application, needs []int64) weight {
	w := weight{apps: int64(len(set))}
	var stored []string
	for _, i := range set {
		w.memory += board.Blocks(needs[i])
		if m := apps[i].Spec.Module; !slices.Contains(stored, m.Digest) {
			stored = append(stored, m.Digest)
			w.storage += m.Size
		}
	}
	of := func(part, whole int64) bool { return whole > 0 && part*100 >= whole*fullPercent }
	w.full = of(w.memory, board.AppMemoryBytes) || of(w.storage, board.ModuleStorageBytes) || w.apps >= int64(board.MaxApps)
	return w
}
