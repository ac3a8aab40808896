// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// inbox is the queue of messages for one app, as in the firmware: it lies in a buffer that the app has lent. Where
// messages lie is known from the app's events.
type inbox struct {
	address, size uint32 // in the app's memory; size 0: none is lent
	held          bool   // the app has a message in its hands, which stays where it is
	heldAt        uint32 // in the buffer
	heldRoom      uint32
	lost          uint32
	topics        []string
	arrived       []arrival
}

// arrival is what is still to be copied into the app's memory, in the app's own turn.
type arrival struct {
	address uint32
	bytes   []byte
}

// eventNone is a message that gave way to another.
const eventNone = -1

// message on its way.
type message struct {
	topic, contentType string
	payload            []byte
}

func roundUp(n int) uint32 { return (uint32(n) + 3) &^ 3 }

func (m *message) room() uint32 {
	return roundUp(len(m.payload)) + roundUp(len(m.topic)+len(m.contentType)+2)
}

// bytes as they lie in the buffer.
func (m *message) bytes() []byte {
	b := make([]byte, roundUp(len(m.payload)), m.room())
	copy(b, m.payload)
	b = append(append(b, m.topic...), 0)
	return append(append(b, m.contentType...), 0)
}

// wants tells whether the app has subscribed to a topic. The caller holds mu, as for all that follows.
func (i *instance) wants(topic string) bool {
	for _, t := range i.inbox.topics {
		if strings.HasPrefix(topic, t) {
			return true
		}
	}
	return false
}

// isFree tells whether n bytes from at on are in the buffer and hold no message.
func (i *instance) isFree(at, n uint32) bool {
	in := &i.inbox
	if at > in.size || n > in.size-at || in.held && at < in.heldAt+in.heldRoom && in.heldAt < at+n {
		return false
	}
	for _, e := range i.queue {
		if other := uint32(e.extra) - in.address; e.kind == hostapi.EventMessage && at < other+e.room && other < at+n {
			return false
		}
	}
	return true
}

// gap finds n free bytes: at the start of the buffer, or behind a message.
func (i *instance) gap(n uint32) (at uint32, ok bool) {
	in := &i.inbox
	if i.isFree(0, n) {
		return 0, true
	}
	if at = in.heldAt + in.heldRoom; in.held && i.isFree(at, n) {
		return at, true
	}
	for _, e := range i.queue {
		if at = uint32(e.extra) - in.address + e.room; e.kind == hostapi.EventMessage && i.isFree(at, n) {
			return at, true
		}
	}
	return 0, false
}

// giveWay drops the message that has waited longest; false when none does.
func (i *instance) giveWay() bool {
	for n := range i.queue {
		if e := &i.queue[n]; e.kind == hostapi.EventMessage {
			e.kind = eventNone
			return true
		}
	}
	return false
}

// receive queues a message; the oldest that wait give way when there is no room. False when even that does not help.
// What is to be said of lost ones is not empty.
func (i *instance) receive(id int32, m *message) (ok bool, lost string) {
	need := m.room()
	at, found := i.gap(need)
	for ; !found; at, found = i.gap(need) {
		i.inbox.lost++
		if n := i.inbox.lost; bits.OnesCount32(n) == 1 {
			lost = fmt.Sprintf("%s: lost %d messages so far: the last takes %d bytes, its buffer has %d", i.app.Name, n, need, i.inbox.size)
		}
		if need > i.inbox.size || !i.giveWay() {
			return false, lost
		}
	}
	address := i.inbox.address + at
	i.inbox.arrived = append(i.inbox.arrived, arrival{address, m.bytes()})
	topic := address + roundUp(len(m.payload))
	i.push(event{kind: hostapi.EventMessage, id: id, port: int32(topic), state: int32(topic) + int32(len(m.topic)) + 1, extra: int32(address),
		length: int32(len(m.payload)), room: need})
	i.call()
	return true, lost
}

// hold notes that the app gets this event, and is done with the message that it had before.
func (i *instance) hold(e event) {
	i.inbox.held = e.kind == hostapi.EventMessage
	i.inbox.heldAt, i.inbox.heldRoom = uint32(e.extra)-i.inbox.address, e.room
}

// unpack copies what has arrived into the app's memory with write.
func (i *instance) unpack(write func(arrival)) {
	for _, a := range i.inbox.arrived {
		write(a)
	}
	i.inbox.arrived = nil
}

// take removes the oldest event for the app; false when there is none.
func (i *instance) take(write func(arrival)) (event, bool) {
	i.unpack(write)
	for len(i.queue) > 0 {
		e := i.queue[0]
		i.queue = append(i.queue[:0], i.queue[1:]...)
		i.hold(e)
		if e.kind != eventNone {
			return e, true
		}
	}
	i.inbox.held = false
	return event{}, false
}

// publish delivers the message that the app has published in its turn.
func (i *instance) publish() {
	m := i.published
	i.published = nil
	id := int32(i.device.messages.Add(1) & math.MaxInt32)
	i.result = hostapi.CodeNotFound
	for _, to := range i.device.instances() {
		to.mu.Lock()
		wanted, ok, lost := to.wants(m.topic), false, ""
		if wanted {
			ok, lost = to.receive(id, m)
		}
		to.mu.Unlock()
		if lost != "" {
			i.device.log(protocol.LogWarning, "", lost)
		}
		switch {
		case ok:
			i.result = hostapi.CodeOK
		case wanted && i.result != hostapi.CodeOK:
			i.result = hostapi.CodeBusy
		}
	}
}

func hostMessageBuffer(i *instance, c *wasmcheck.Call) int32 {
	if _, ok := span(c, 0); c.Arg(1) != 0 && !ok {
		return int32(hostapi.CodeInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.giveWay() {
	}
	i.inbox = inbox{address: c.Arg(0), size: c.Arg(1), lost: i.inbox.lost, topics: i.inbox.topics}
	return int32(hostapi.CodeOK)
}

func hostSubscribe(i *instance, c *wasmcheck.Call) int32 {
	topic, ok := c.Text(c.Arg(0), hostapi.MaxTopic+1)
	if !ok || topic == "" {
		return int32(hostapi.CodeInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, t := range i.inbox.topics {
		if t == topic {
			return int32(hostapi.CodeOK)
		}
	}
	if len(i.inbox.topics) >= hostapi.MaxSubscriptions || i.inbox.size == 0 {
		return int32(hostapi.CodeNoMemory)
	}
	i.inbox.topics = append(i.inbox.topics, topic)
	return int32(hostapi.CodeOK)
}

func hostUnsubscribe(i *instance, c *wasmcheck.Call) int32 {
	topic, ok := c.Text(c.Arg(0), hostapi.MaxTopic+1)
	if !ok {
		return int32(hostapi.CodeInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, t := range i.inbox.topics {
		if t == topic {
			i.inbox.topics = append(i.inbox.topics[:n], i.inbox.topics[n+1:]...)
			return int32(hostapi.CodeOK)
		}
	}
	return int32(hostapi.CodeNotFound)
}

// hostPublish suspends the app: other apps may run in the same runtime, whose lock is held here.
func hostPublish(i *instance, c *wasmcheck.Call) wasmcheck.HostResult {
	topic, ok := c.Text(c.Arg(0), hostapi.MaxTopic+1)
	contentType, typed := c.Text(c.Arg(1), hostapi.MaxContentType+1)
	payload, there := span(c, 2)
	if !ok || topic == "" || !typed || contentType == "" || !there || len(payload) > hostapi.MaxPayload {
		c.Return(code(hostapi.CodeInvalid))
		return wasmcheck.HostOK
	}
	i.published = &message{topic, contentType, append([]byte{}, payload...)}
	i.wake, i.sleeping = i.device.uptime(), true
	return wasmcheck.HostWait
}

// write copies what arrived while no guest code runs.
func (i *instance) write(a arrival) {
	i.wasm.WriteMemory(context.Background(), a.address, a.bytes)
}
