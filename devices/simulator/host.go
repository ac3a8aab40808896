// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/binary"
	"math"
	"time"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// hostFunc is one host function: the app that calls, with its arguments and memory. It runs in the app's turn and
// within the runtime's lock: it does not wait and does not take the device's lock.
type hostFunc func(i *instance, c *wasmcheck.Call) wasmcheck.HostResult

// plain is a host function that returns an i32.
func plain(f func(i *instance, c *wasmcheck.Call) int32) hostFunc {
	return func(i *instance, c *wasmcheck.Call) wasmcheck.HostResult {
		c.Return(uint32(f(i, c)))
		return wasmcheck.HostOK
	}
}

// constant is one that has nothing to do.
func constant(v int32) hostFunc {
	return plain(func(*instance, *wasmcheck.Call) int32 { return v })
}

func arg(c *wasmcheck.Call, n int) int32 { return int32(c.Arg(n)) }

// span is the range that two arguments from n on tell: pointer and length.
func span(c *wasmcheck.Call, n int) ([]byte, bool) { return c.Memory(c.Arg(n), c.Arg(n+1)) }

// hostFunctions implements every row of the table in devices/hostapi.
var hostFunctions = map[string]hostFunc{
	"ocre_sleep":               hostSleep,
	"ocre_get_event":           plain(hostGetEvent),
	"ocre_register_dispatcher": plain(hostRegisterDispatcher),
	"wasmbed_config_get":       plain(hostConfigGet),
	"wasmbed_metric_set":       plain(hostMetricSet),
	"wasmbed_log":              plain(hostLog),

	"ocre_timer_create": plain(func(i *instance, c *wasmcheck.Call) int32 { return int32(i.createTimer(arg(c, 0))) }),
	"ocre_timer_start": plain(func(i *instance, c *wasmcheck.Call) int32 {
		return int32(i.startTimer(arg(c, 0), arg(c, 1), arg(c, 2) != 0))
	}),
	"ocre_timer_stop":          plain(func(i *instance, c *wasmcheck.Call) int32 { return int32(i.stopTimer(arg(c, 0), false)) }),
	"ocre_timer_delete":        plain(func(i *instance, c *wasmcheck.Call) int32 { return int32(i.stopTimer(arg(c, 0), true)) }),
	"ocre_timer_get_remaining": plain(func(i *instance, c *wasmcheck.Call) int32 { return i.remaining(arg(c, 0)) }),

	"ocre_gpio_init":                constant(int32(hostapi.CodeOK)),
	"ocre_gpio_configure":           onPin(configurePin),
	"ocre_gpio_pin_set":             onPin(setPin),
	"ocre_gpio_pin_get":             onPin(getPin),
	"ocre_gpio_pin_toggle":          onPin(togglePin),
	"ocre_gpio_register_callback":   onPin(watchPin),
	"ocre_gpio_unregister_callback": onPin(unwatchPin),
	"ocre_gpio_configure_by_name":   onNamedPin(configurePin),
	"ocre_gpio_set_by_name":         onNamedPin(setPin),
	"ocre_gpio_get_by_name":         onNamedPin(getPin),
	"ocre_gpio_toggle_by_name":      onNamedPin(togglePin),

	"wasmbed_message_buffer":      plain(hostMessageBuffer),
	"ocre_subscribe_message":      plain(hostSubscribe),
	"wasmbed_unsubscribe_message": plain(hostUnsubscribe),
	"ocre_publish_message":        hostPublish,

	"ocre_sensors_init":              constant(int32(hostapi.CodeOK)),
	"ocre_sensors_discover":          constant(sensors),
	"ocre_sensors_get_handle":        onSensor(func(_ *instance, c *wasmcheck.Call) int32 { return arg(c, 0) }),
	"ocre_sensors_open":              onSensor(hostSensorOpen),
	"ocre_sensors_get_channel_count": onSensor(func(*instance, *wasmcheck.Call) int32 { return 1 }),
	"ocre_sensors_get_channel_type":  onSensor(hostChannelType),
	"ocre_sensors_read":              hostSensorRead,
}

func hostSleep(i *instance, c *wasmcheck.Call) wasmcheck.HostResult {
	milliseconds := arg(c, 0)
	if milliseconds < 0 {
		c.Return(code(hostapi.CodeInvalid))
		return wasmcheck.HostOK
	}
	i.wake, i.sleeping, i.result = i.device.uptime()+time.Duration(milliseconds)*time.Millisecond, true, hostapi.CodeOK
	return wasmcheck.HostWait
}

// code is a result's bits.
func code(c hostapi.Code) uint32 { return uint32(int32(c)) }

func hostGetEvent(i *instance, c *wasmcheck.Call) int32 {
	const fields = 6
	for n := range fields { // checked first, so that no event is lost
		if _, ok := c.Memory(c.Arg(n), 4); c.Arg(n) != 0 && !ok {
			return int32(hostapi.CodeInvalid)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ev, ok := i.take(func(a arrival) {
		if at, ok := c.Memory(a.address, uint32(len(a.bytes))); ok {
			copy(at, a.bytes)
		}
	})
	if !ok {
		return int32(hostapi.CodeNotFound)
	}
	for n, v := range [fields]int32{int32(ev.kind), ev.id, ev.port, ev.state, ev.extra, ev.length} {
		if at, ok := c.Memory(c.Arg(n), 4); ok && c.Arg(n) != 0 {
			binary.LittleEndian.PutUint32(at, uint32(v))
		}
	}
	return int32(hostapi.CodeOK)
}

// What the firmware reads of names, their zero byte included.
const (
	maxExportName = 65
	maxPinName    = 16
)

func hostRegisterDispatcher(i *instance, c *wasmcheck.Call) int32 {
	kind := int(arg(c, 0))
	want, known := callback(kind)
	name, ok := c.Text(c.Arg(1), maxExportName)
	switch {
	case !known || !ok:
		return int32(hostapi.CodeInvalid)
	case !exports(*i.info, name, want.signature):
		return int32(hostapi.CodeNotFound)
	}
	if i.dispatchers == nil {
		i.dispatchers = map[int]string{}
	}
	i.dispatchers[kind] = name
	return int32(hostapi.CodeOK)
}

func hostConfigGet(i *instance, c *wasmcheck.Call) int32 {
	key, ok := span(c, 0)
	buffer, fits := span(c, 2)
	if !ok || !fits {
		return int32(hostapi.CodeInvalid)
	}
	value, ok := i.app.Config[string(key)]
	if !ok {
		return int32(hostapi.CodeNotFound)
	}
	copy(buffer, value)
	return int32(len(value))
}

func hostMetricSet(i *instance, c *wasmcheck.Call) int32 {
	name, ok := span(c, 0)
	if !ok || len(name) == 0 || len(name) > hostapi.MaxMetricName {
		return int32(hostapi.CodeInvalid)
	}
	for _, b := range name {
		if b < ' ' || b > '~' {
			return int32(hostapi.CodeInvalid)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, known := i.values[string(name)]; !known && len(i.values) >= hostapi.MaxMetrics {
		return int32(hostapi.CodeNoMemory)
	}
	if i.values == nil {
		i.values = map[string]int64{}
	}
	i.values[string(name)] = int64(arg(c, 2))
	return int32(hostapi.CodeOK)
}

func hostLog(i *instance, c *wasmcheck.Call) int32 {
	level := arg(c, 0)
	text, ok := span(c, 1)
	if !ok || level < hostapi.LogDebug || level > hostapi.LogError {
		return int32(hostapi.CodeInvalid)
	}
	i.log(protocol.LogLevel(level), string(text[:min(len(text), hostapi.MaxLogLine)]))
	return int32(hostapi.CodeOK)
}

// log keeps a line until the turn ends.
func (i *instance) log(level protocol.LogLevel, text string) {
	if len(i.lines) >= maxLogQueue {
		i.dropped++
		return
	}
	i.lines = append(i.lines, line{level, text})
}

// pinFunc works on one pin; value is the argument after it, if it takes one.
type pinFunc func(i *instance, port, pin, value int32) int32

func onPin(f pinFunc) hostFunc {
	return plain(func(i *instance, c *wasmcheck.Call) int32 { return f(i, arg(c, 0), arg(c, 1), arg(c, 2)) })
}

func onNamedPin(f pinFunc) hostFunc {
	return plain(func(i *instance, c *wasmcheck.Call) int32 {
		name, ok := c.Text(c.Arg(0), maxPinName)
		if !ok {
			return int32(hostapi.CodeInvalid)
		}
		port, pin, ok := pinNamed(name)
		if !ok {
			return int32(hostapi.CodeInvalid)
		}
		return f(i, port, pin, arg(c, 1))
	})
}

func configurePin(_ *instance, port, pin, direction int32) int32 {
	if (direction == 1 && isOutput(port, pin)) || (direction == 0 && isInput(port, pin)) {
		return int32(hostapi.CodeOK)
	}
	return int32(hostapi.CodeInvalid)
}

func setPin(i *instance, port, pin, value int32) int32 {
	return i.drive(port, pin, func(bool) bool { return value != 0 })
}

func togglePin(i *instance, port, pin, _ int32) int32 {
	return i.drive(port, pin, func(level bool) bool { return !level })
}

func getPin(i *instance, port, pin, _ int32) int32 { return i.device.level(port, pin) }

func watchPin(i *instance, port, pin, _ int32) int32 {
	if !isInput(port, pin) {
		return int32(hostapi.CodeInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.watches(port, pin) >= 0 {
		return int32(hostapi.CodeOK)
	}
	if len(i.watched) >= hostapi.MaxGPIOCallbacks {
		return int32(hostapi.CodeNoMemory)
	}
	i.watched = append(i.watched, event{kind: hostapi.EventGPIO, id: pin, port: port})
	return int32(hostapi.CodeOK)
}

func unwatchPin(i *instance, port, pin, _ int32) int32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := i.watches(port, pin)
	if at < 0 {
		return int32(hostapi.CodeNotFound)
	}
	i.watched = append(i.watched[:at], i.watched[at+1:]...)
	return int32(hostapi.CodeOK)
}

// onSensor refuses ids and handles of sensors that are not there; both count from 0.
func onSensor(f func(i *instance, c *wasmcheck.Call) int32) hostFunc {
	return plain(func(i *instance, c *wasmcheck.Call) int32 {
		if n := arg(c, 0); n < 0 || n >= sensors {
			return int32(hostapi.CodeNotFound)
		}
		return f(i, c)
	})
}

func hostSensorOpen(i *instance, _ *wasmcheck.Call) int32 {
	i.sensing = true
	return int32(hostapi.CodeOK)
}

func hostChannelType(_ *instance, c *wasmcheck.Call) int32 {
	if arg(c, 1) != 0 {
		return int32(hostapi.CodeNotFound)
	}
	return hostapi.ChannelTemperature
}

func hostSensorRead(i *instance, c *wasmcheck.Call) wasmcheck.HostResult {
	value := math.NaN()
	if arg(c, 0) == 0 && arg(c, 1) == hostapi.ChannelTemperature && i.sensing {
		value = i.device.temperature()
	}
	c.Return64(math.Float64bits(value))
	return wasmcheck.HostOK
}
