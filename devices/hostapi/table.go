// SPDX-License-Identifier: Apache-2.0

package hostapi

// i is a parameter that is a number.
func i(name string) Param { return Param{Name: name, Type: I32} }

// p is a parameter that is a pointer.
func p(name string, k Kind) Param { return Param{Name: name, Type: I32, Kind: k} }

var (
	oneI32 = []byte{I32}
	oneF64 = []byte{F64}
)

// groups is the table. The reference lists the functions in this order.
var groups = []struct {
	permission Permission
	functions  []Function
}{
	{PermissionNone, []Function{
		{Name: "ocre_sleep", Params: []Param{i("milliseconds")}, Results: oneI32, Blocking: true,
			Doc: "Suspends the app. Returns 0, or -1 when the time is negative."},
		{Name: "ocre_get_event", Params: []Param{p("type", Int32), p("id", Int32), p("port", Int32), p("state", Int32), p("extra", Int32), p("length", Int32)}, Results: oneI32,
			Doc: "Takes the oldest event from the app's queue. Returns 0, -3 when there is none, -1 for a bad pointer. Timer: id is the timer. GPIO: id is the pin, with its port and state. Message: id is its number; port, state and extra point to topic, content type and payload, which has length bytes."},
		{Name: "ocre_register_dispatcher", Params: []Param{i("type"), p("name", CString)}, Results: oneI32,
			Doc: "Names the export that is called for events of the type, instead of the one of the table of callbacks. Returns 0, -1 for a bad type or pointer, -3 when the app exports no such function of the callback's signature."},
		{Name: "wasmbed_config_get", Params: []Param{p("key", Bytes), i("key_length"), p("buffer", Buffer), i("buffer_length")}, Results: oneI32,
			Doc: "Copies the value of a key of the app's config, as much of it as fits, without a zero byte at its end. Returns the length of the whole value, -3 when there is no such key, -1 for a bad pointer."},
		{Name: "wasmbed_metric_set", Params: []Param{p("name", Bytes), i("name_length"), i("value")}, Results: oneI32,
			Doc: "Publishes a value that travels with the next heartbeat. Returns 0, -1 for a bad pointer or an empty or overlong name, -5 when the app has published too many names."},
	}},
	{PermissionLog, []Function{
		{Name: "wasmbed_log", Params: []Param{i("level"), p("text", Bytes), i("length")}, Results: oneI32,
			Doc: "Writes a line to the device's log: level 0 debug, 1 info, 2 warning, 3 error. Lines above the device's rate are dropped and counted. Returns 0, or -1 for a bad level or pointer."},
	}},
	{PermissionTimer, []Function{
		{Name: "ocre_timer_create", Params: []Param{i("id")}, Results: oneI32,
			Doc: "Makes a timer; ids are 1 to 8. Returns 0, -1 for a bad id, -4 when it exists."},
		{Name: "ocre_timer_start", Params: []Param{i("id"), i("milliseconds"), i("periodic")}, Results: oneI32,
			Doc: "Starts a timer, or starts it anew: once, or again and again. Returns 0, -1 for a time below 1, -3 when there is no such timer."},
		{Name: "ocre_timer_stop", Params: []Param{i("id")}, Results: oneI32,
			Doc: "Stops a timer. Returns 0, or -3 when there is no such timer."},
		{Name: "ocre_timer_delete", Params: []Param{i("id")}, Results: oneI32,
			Doc: "Stops and removes a timer. Returns 0, or -3 when there is no such timer."},
		{Name: "ocre_timer_get_remaining", Params: []Param{i("id")}, Results: oneI32,
			Doc: "Milliseconds until the timer fires, 0 when it is stopped, -3 when there is no such timer."},
	}},
	{PermissionGPIO, []Function{
		{Name: "ocre_gpio_init", Results: oneI32, Doc: "Gets the pins ready. Returns 0."},
		{Name: "ocre_gpio_configure", Params: []Param{i("port"), i("pin"), i("direction")}, Results: oneI32,
			Doc: "Sets the direction: 0 input, 1 output. Returns 0, or -1 when the board has no such pin or the pin cannot do it."},
		{Name: "ocre_gpio_pin_set", Params: []Param{i("port"), i("pin"), i("state")}, Results: oneI32,
			Doc: "Drives an output: 0 low, else high. Returns 0, or -1 when the board has no such output."},
		{Name: "ocre_gpio_pin_get", Params: []Param{i("port"), i("pin")}, Results: oneI32,
			Doc: "The level, 0 or 1; -1 when the board has no such pin."},
		{Name: "ocre_gpio_pin_toggle", Params: []Param{i("port"), i("pin")}, Results: oneI32,
			Doc: "Inverts an output. Returns 0, or -1 when the board has no such output."},
		{Name: "ocre_gpio_register_callback", Params: []Param{i("port"), i("pin")}, Results: oneI32,
			Doc: "Asks for an event at each change of an input. Returns 0, -1 when the board has no such input, -5 when the app watches too many."},
		{Name: "ocre_gpio_unregister_callback", Params: []Param{i("port"), i("pin")}, Results: oneI32,
			Doc: "Ends what ocre_gpio_register_callback began. Returns 0, or -3 when nothing was registered."},
		{Name: "ocre_gpio_configure_by_name", Params: []Param{p("name", CString), i("direction")}, Results: oneI32,
			Doc: "Like ocre_gpio_configure; names are led0 and on, button0 and on."},
		{Name: "ocre_gpio_set_by_name", Params: []Param{p("name", CString), i("state")}, Results: oneI32,
			Doc: "Like ocre_gpio_pin_set."},
		{Name: "ocre_gpio_get_by_name", Params: []Param{p("name", CString)}, Results: oneI32,
			Doc: "Like ocre_gpio_pin_get."},
		{Name: "ocre_gpio_toggle_by_name", Params: []Param{p("name", CString)}, Results: oneI32,
			Doc: "Like ocre_gpio_pin_toggle."},
	}},
	{PermissionMessaging, []Function{
		{Name: "wasmbed_message_buffer", Params: []Param{p("buffer", Buffer), i("buffer_length")}, Results: oneI32,
			Doc: "Lends the device memory of the app for messages that come: at any time the device writes there and nowhere else. Another call replaces the buffer, length 0 takes it back; messages in the former one are gone. Returns 0, or -1 for a bad pointer."},
		{Name: "ocre_subscribe_message", Params: []Param{p("topic", CString)}, Results: oneI32,
			Doc: "Asks for the messages whose topic begins with the text. Returns 0, also when the app has subscribed to it already, -1 for a bad pointer or an empty or overlong topic, -5 when the app has too many subscriptions or has lent no buffer."},
		{Name: "wasmbed_unsubscribe_message", Params: []Param{p("topic", CString)}, Results: oneI32,
			Doc: "Ends what ocre_subscribe_message began; what is queued still comes. Returns 0, -1 for a bad pointer, -3 when there is no such subscription."},
		{Name: "ocre_publish_message", Params: []Param{p("topic", CString), p("content_type", CString), p("payload", Bytes), i("payload_length")}, Results: oneI32, Blocking: true,
			Doc: "Queues a message once for each app of the device with a matching subscription, the one that publishes too, and lets the others run. Returns 0, -1 for a bad pointer or what is empty or overlong, -3 when no app has subscribed, -4 when none of those that have had room."},
	}},
	{PermissionSensor, []Function{
		{Name: "ocre_sensors_init", Results: oneI32, Doc: "Gets the sensors ready. Returns 0."},
		{Name: "ocre_sensors_discover", Results: oneI32, Doc: "The number of sensors; their ids count from 0."},
		{Name: "ocre_sensors_get_handle", Params: []Param{i("id")}, Results: oneI32,
			Doc: "The handle of a sensor, or -3 when there is none."},
		{Name: "ocre_sensors_open", Params: []Param{i("handle")}, Results: oneI32,
			Doc: "Opens a sensor. Returns 0, or -3 when there is none."},
		{Name: "ocre_sensors_get_channel_count", Params: []Param{i("handle")}, Results: oneI32,
			Doc: "The number of channels, or -3 when there is no such sensor."},
		{Name: "ocre_sensors_get_channel_type", Params: []Param{i("handle"), i("index")}, Results: oneI32,
			Doc: "What a channel measures: 0 temperature in degrees Celsius; -3 when there is no such channel."},
		{Name: "ocre_sensors_read", Params: []Param{i("handle"), i("channel")}, Results: oneF64,
			Doc: "The measured value of a channel type in its unit. Not a number when the sensor is not open or does not answer."},
	}},
}

var callbacks = []Callback{
	{Name: "timer_callback", Event: EventTimer, Params: []Param{i("id")},
		Doc: "A timer fired."},
	{Name: "gpio_callback", Event: EventGPIO, Params: []Param{i("pin"), i("state"), i("port")},
		Doc: "A watched input changed."},
	{Name: "message_callback", Event: EventMessage, Params: []Param{i("id"), p("topic", CString), p("content_type", CString), p("payload", Bytes), i("payload_length")},
		Doc: "A message came. What is pointed to stays until the callback returns."},
}

type index struct {
	list   []Function
	byName map[string]int
}

// build flattens the groups and indexes them by name.
func build() index {
	t := index{byName: map[string]int{}}
	for _, g := range groups {
		for _, f := range g.functions {
			f.Module, f.Permission = Module, g.permission
			if _, twice := t.byName[f.Name]; twice {
				panic("internal error: host function listed twice: " + f.Name)
			}
			t.byName[f.Name] = len(t.list)
			t.list = append(t.list, f)
		}
	}
	return t
}
