// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"strings"
	"time"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/gateway/protocol"
)

// The simulated board has the pins of the MPS2 boards: port 0 holds ten LEDs, port 1 two buttons; and one sensor, a
// thermometer.
const (
	portLEDs    = 0
	portButtons = 1
	leds        = 10
	buttons     = 2
	sensors     = 1
)

func isOutput(port, pin int32) bool { return port == portLEDs && pin >= 0 && pin < leds }
func isInput(port, pin int32) bool  { return port == portButtons && pin >= 0 && pin < buttons }

// pinNamed finds "led3" and "button0".
func pinNamed(name string) (port, pin int32, ok bool) {
	for prefix, port := range map[string]int32{"led": portLEDs, "button": portButtons} {
		rest, found := strings.CutPrefix(name, prefix)
		n, err := strconv.ParseUint(rest, 10, 8)
		if found && err == nil && len(rest) == 1 && (isOutput(port, int32(n)) || isInput(port, int32(n))) {
			return port, int32(n), true
		}
	}
	return 0, 0, false
}

// ledQuiet is how long an LED changes unheard after a line about it.
const ledQuiet = time.Minute

// led is what the log has of an LED.
type led struct {
	changes uint32 // since the last line
	told    time.Duration
}

// drive sets an LED to what next makes of its level, and says so in the app's log, once a minute at most: "LED 0 on".
func (i *instance) drive(port, pin int32, next func(bool) bool) int32 {
	if !isOutput(port, pin) {
		return int32(hostapi.CodeInvalid)
	}
	d, bit := i.device, uint32(1)<<pin
	d.ledsMu.Lock()
	defer d.ledsMu.Unlock()
	was := d.leds.Load()&bit != 0
	on := next(was)
	if on == was {
		return int32(hostapi.CodeOK)
	}
	d.leds.Store(d.leds.Load() ^ bit)
	l, now := &d.ledLog[pin], d.uptime()
	l.changes++
	if l.told != 0 && now < l.told+ledQuiet {
		return int32(hostapi.CodeOK)
	}
	text := fmt.Sprintf("LED %d %s", pin, map[bool]string{true: "on", false: "off"}[on])
	if l.changes > 1 {
		text += fmt.Sprintf(", changed %d times since the last line", l.changes)
	}
	l.changes, l.told = 0, now
	i.log(protocol.LogInfo, text)
	return int32(hostapi.CodeOK)
}

// level reads a pin.
func (d *Device) level(port, pin int32) int32 {
	switch {
	case isOutput(port, pin):
		return int32(d.leds.Load() >> pin & 1)
	case isInput(port, pin):
		return int32(d.buttons.Load() >> pin & 1)
	}
	return int32(hostapi.CodeInvalid)
}

// LEDs is the state of the ten LEDs, one bit each.
func (d *Device) LEDs() uint32 { return d.leds.Load() }

// Press sets a button, 0 or 1, down or up, and tells the apps that watch it.
func (d *Device) Press(button int, down bool) {
	pin := int32(button)
	if !isInput(portButtons, pin) {
		return
	}
	bit, state := uint32(1)<<pin, int32(0)
	if down {
		state = 1
		if d.buttons.Or(bit)&bit != 0 {
			return
		}
	} else if d.buttons.And(^bit)&bit == 0 {
		return
	}
	for _, i := range d.instances() {
		i.mu.Lock()
		if i.watches(portButtons, pin) >= 0 {
			i.push(event{kind: hostapi.EventGPIO, id: pin, port: portButtons, state: state})
			i.call()
		}
		i.mu.Unlock()
	}
}

// watches is the index of a watched pin, or -1. The caller holds mu.
func (i *instance) watches(port, pin int32) int {
	for n, w := range i.watched {
		if w.id == pin && w.port == port {
			return n
		}
	}
	return -1
}

// The thermometer's curve: a day of two minutes, each device somewhere else in it.
const (
	meanCelsius  = 20.0
	swingCelsius = 4.0
	day          = 2 * time.Minute
)

// temperature depends on the device's name and uptime only, so a run can be repeated.
func (d *Device) temperature() float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.cfg.Namespace + "/" + d.cfg.Name)) // never fails
	phase := float64(h.Sum32()) / math.MaxUint32
	return meanCelsius + swingCelsius*math.Sin(2*math.Pi*(phase+float64(d.uptime())/float64(day)))
}
