// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/gateway/protocol"
)

// hostFunc is one host function: the app that calls and its arguments in, the result's bits out.
type hostFunc func(i *instance, args []uint64) uint64

// hostCall links a hostFunc with the runtime, which passes the caller's context and the arguments on a stack that
// takes the result.
func hostCall(f hostFunc) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		stack[0] = f(ctx.Value(instanceKey{}).(*instance), stack)
	}
}

func arg(args []uint64, n int) int32 { return api.DecodeI32(args[n]) }

func code(c hostapi.Code) uint64 { return api.EncodeI32(int32(c)) }

// hostFunctions implements every row of the table in devices/hostapi.
var hostFunctions = map[string]hostFunc{
	"ocre_sleep":               hostSleep,
	"ocre_get_event":           hostGetEvent,
	"ocre_register_dispatcher": hostRegisterDispatcher,
	"wasmbed_config_get":       hostConfigGet,
	"wasmbed_metric_set":       hostMetricSet,
	"wasmbed_log":              hostLog,

	"ocre_timer_create": func(i *instance, a []uint64) uint64 { return code(i.createTimer(arg(a, 0))) },
	"ocre_timer_start": func(i *instance, a []uint64) uint64 {
		return code(i.startTimer(arg(a, 0), arg(a, 1), arg(a, 2) != 0))
	},
	"ocre_timer_stop":          func(i *instance, a []uint64) uint64 { return code(i.stopTimer(arg(a, 0), false)) },
	"ocre_timer_delete":        func(i *instance, a []uint64) uint64 { return code(i.stopTimer(arg(a, 0), true)) },
	"ocre_timer_get_remaining": func(i *instance, a []uint64) uint64 { return api.EncodeI32(i.remaining(arg(a, 0))) },

	"ocre_gpio_init":                func(*instance, []uint64) uint64 { return code(hostapi.CodeOK) },
	"ocre_gpio_configure":           onPin(2, configurePin),
	"ocre_gpio_pin_set":             onPin(2, setPin),
	"ocre_gpio_pin_get":             onPin(2, getPin),
	"ocre_gpio_pin_toggle":          onPin(2, togglePin),
	"ocre_gpio_register_callback":   onPin(2, watchPin),
	"ocre_gpio_unregister_callback": onPin(2, unwatchPin),
	"ocre_gpio_configure_by_name":   onNamedPin(configurePin),
	"ocre_gpio_set_by_name":         onNamedPin(setPin),
	"ocre_gpio_get_by_name":         onNamedPin(getPin),
	"ocre_gpio_toggle_by_name":      onNamedPin(togglePin),

	// No app of a simulated device gets messages yet.
	"wasmbed_message_buffer":      func(*instance, []uint64) uint64 { return code(hostapi.CodeNoMemory) },
	"ocre_subscribe_message":      func(*instance, []uint64) uint64 { return code(hostapi.CodeNoMemory) },
	"wasmbed_unsubscribe_message": func(*instance, []uint64) uint64 { return code(hostapi.CodeNotFound) },
	"ocre_publish_message":        func(*instance, []uint64) uint64 { return code(hostapi.CodeNotFound) },

	"ocre_sensors_init":              func(*instance, []uint64) uint64 { return code(hostapi.CodeOK) },
	"ocre_sensors_discover":          func(*instance, []uint64) uint64 { return api.EncodeI32(sensors) },
	"ocre_sensors_get_handle":        onSensor(func(_ *instance, a []uint64) uint64 { return a[0] }),
	"ocre_sensors_open":              onSensor(hostSensorOpen),
	"ocre_sensors_get_channel_count": onSensor(func(*instance, []uint64) uint64 { return api.EncodeI32(1) }),
	"ocre_sensors_get_channel_type":  onSensor(hostChannelType),
	"ocre_sensors_read":              hostSensorRead,
}

func hostSleep(i *instance, a []uint64) uint64 {
	milliseconds := arg(a, 0)
	if milliseconds < 0 {
		return code(hostapi.CodeInvalid)
	}
	i.block(time.Duration(milliseconds) * time.Millisecond)
	return code(hostapi.CodeOK)
}

func hostGetEvent(i *instance, a []uint64) uint64 {
	for n := range 6 {
		if _, ok := i.memory.read(arg(a, n), 4); arg(a, n) != 0 && !ok {
			return code(hostapi.CodeInvalid) // checked first, so that no event is lost
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) == 0 {
		return code(hostapi.CodeNotFound)
	}
	ev := i.queue[0]
	i.queue = i.queue[1:]
	for n, v := range []int32{int32(ev.kind), ev.id, ev.port, ev.state, 0, 0} {
		i.memory.putInt32(arg(a, n), v)
	}
	return code(hostapi.CodeOK)
}

func hostRegisterDispatcher(i *instance, a []uint64) uint64 {
	name, ok := i.memory.text(arg(a, 1))
	if !ok {
		return code(hostapi.CodeInvalid)
	}
	for _, c := range hostapi.Callbacks() {
		if int32(c.Event) != arg(a, 0) {
			continue
		}
		if i.module == nil {
			return code(hostapi.CodeNotFound) // a start function runs before the app has exports
		}
		f := i.module.ExportedFunction(name)
		if f == nil || len(f.Definition().ParamTypes()) != len(c.Params) || len(f.Definition().ResultTypes()) != 0 {
			return code(hostapi.CodeNotFound)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.exports == nil {
			i.exports = map[int]string{}
		}
		i.exports[c.Event] = name
		return code(hostapi.CodeOK)
	}
	return code(hostapi.CodeInvalid)
}

func hostConfigGet(i *instance, a []uint64) uint64 {
	key, ok := i.memory.read(arg(a, 0), arg(a, 1))
	buffer, fits := i.memory.read(arg(a, 2), arg(a, 3))
	if !ok || !fits {
		return code(hostapi.CodeInvalid)
	}
	value, ok := i.app.Config[string(key)]
	if !ok {
		return code(hostapi.CodeNotFound)
	}
	copy(buffer, value)
	return api.EncodeI32(int32(len(value)))
}

func hostMetricSet(i *instance, a []uint64) uint64 {
	raw, ok := i.memory.read(arg(a, 0), arg(a, 1))
	if !ok || len(raw) > hostapi.MaxMetricName {
		return code(hostapi.CodeInvalid)
	}
	name := cleanText(string(raw), hostapi.MaxMetricName)
	if name == "" {
		return code(hostapi.CodeInvalid)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, known := i.values[name]; !known && len(i.values) >= hostapi.MaxMetrics {
		return code(hostapi.CodeNoMemory)
	}
	if i.values == nil {
		i.values = map[string]int64{}
	}
	i.values[name] = int64(arg(a, 2))
	return code(hostapi.CodeOK)
}

func hostLog(i *instance, a []uint64) uint64 {
	level := arg(a, 0)
	text, ok := i.memory.read(arg(a, 1), arg(a, 2))
	if !ok || level < hostapi.LogDebug || level > hostapi.LogError {
		return code(hostapi.CodeInvalid)
	}
	i.device.log(protocol.LogLevel(level), i.app.Name, string(text[:min(len(text), hostapi.MaxLogLine)]))
	return code(hostapi.CodeOK)
}

// pinFunc works on one pin; rest holds the arguments after it.
type pinFunc func(i *instance, port, pin int32, rest []uint64) int32

// onPin takes the pin from the first n arguments.
func onPin(n int, f pinFunc) hostFunc {
	return func(i *instance, a []uint64) uint64 { return api.EncodeI32(f(i, arg(a, 0), arg(a, 1), a[n:])) }
}

func onNamedPin(f pinFunc) hostFunc {
	return func(i *instance, a []uint64) uint64 {
		name, ok := i.memory.text(arg(a, 0))
		if !ok {
			return code(hostapi.CodeInvalid)
		}
		port, pin, ok := pinNamed(name)
		if !ok {
			return code(hostapi.CodeInvalid)
		}
		return api.EncodeI32(f(i, port, pin, a[1:]))
	}
}

func configurePin(_ *instance, port, pin int32, rest []uint64) int32 {
	direction := arg(rest, 0)
	if (direction == 1 && isOutput(port, pin)) || (direction == 0 && isInput(port, pin)) {
		return int32(hostapi.CodeOK)
	}
	return int32(hostapi.CodeInvalid)
}

func setPin(i *instance, port, pin int32, rest []uint64) int32 {
	high := arg(rest, 0) != 0
	return i.device.drive(port, pin, func(bool) bool { return high })
}

func togglePin(i *instance, port, pin int32, _ []uint64) int32 {
	return i.device.drive(port, pin, func(level bool) bool { return !level })
}

func getPin(i *instance, port, pin int32, _ []uint64) int32 { return i.device.level(port, pin) }

func watchPin(i *instance, port, pin int32, _ []uint64) int32 {
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

func unwatchPin(i *instance, port, pin int32, _ []uint64) int32 {
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
func onSensor(f hostFunc) hostFunc {
	return func(i *instance, a []uint64) uint64 {
		if n := arg(a, 0); n < 0 || n >= sensors {
			return code(hostapi.CodeNotFound)
		}
		return f(i, a)
	}
}

func hostSensorOpen(i *instance, _ []uint64) uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sensing = true
	return code(hostapi.CodeOK)
}

func hostChannelType(_ *instance, a []uint64) uint64 {
	if arg(a, 1) != 0 {
		return code(hostapi.CodeNotFound)
	}
	return api.EncodeI32(hostapi.ChannelTemperature)
}

func hostSensorRead(i *instance, a []uint64) uint64 {
	i.mu.Lock()
	open := i.sensing
	i.mu.Unlock()
	if arg(a, 0) != 0 || arg(a, 1) != hostapi.ChannelTemperature || !open {
		return api.EncodeF64(math.NaN())
	}
	return api.EncodeF64(i.device.temperature())
}
