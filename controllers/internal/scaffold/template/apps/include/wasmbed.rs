// SPDX-License-Identifier: Apache-2.0
// Generated from devices/hostapi/table.go by `go generate ./devices/hostapi`. Do not edit.
//
// Host functions for applications in Rust: `mod wasmbed { include!("…/include/wasmbed.rs"); }`.
// devices/hostapi/README.md is the reference.

pub const OK: i32 = 0;
pub const INVALID: i32 = -1;
pub const TIMEOUT: i32 = -2;
pub const NOT_FOUND: i32 = -3;
pub const BUSY: i32 = -4;
pub const NO_MEMORY: i32 = -5;
pub const EVENT_TIMER: i32 = 0;
pub const EVENT_GPIO: i32 = 1;
pub const EVENT_SENSOR: i32 = 2;
pub const EVENT_MESSAGE: i32 = 3;
pub const LOG_DEBUG: i32 = 0;
pub const LOG_INFO: i32 = 1;
pub const LOG_WARNING: i32 = 2;
pub const LOG_ERROR: i32 = 3;
pub const CHANNEL_TEMPERATURE: i32 = 0;
pub const MAX_TIMERS: i32 = 8;
pub const MAX_EVENTS: i32 = 16;
pub const MAX_GPIO_CALLBACKS: i32 = 8;
pub const MAX_LOG_LINE: i32 = 160;
pub const MAX_METRICS: i32 = 8;
pub const MAX_METRIC_NAME: i32 = 32;
pub const MAX_CONFIG_KEY: i32 = 63;
pub const MAX_SUBSCRIPTIONS: i32 = 4;
pub const MAX_TOPIC: i32 = 63;
pub const MAX_CONTENT_TYPE: i32 = 31;
pub const MAX_PAYLOAD: i32 = 512;

#[link(wasm_import_module = "env")]
extern "C" {
    /// Suspends the app. Returns 0, or -1 when the time is negative.
    pub fn ocre_sleep(milliseconds: i32) -> i32;
    /// Takes the oldest event from the app's queue. Returns 0, -3 when there is none, -1 for a bad pointer. Timer: id is the timer. GPIO: id is the pin, with its port and state. Message: id is its number; port, state and extra point to topic, content type and payload, which has length bytes.
    pub fn ocre_get_event(kind: *mut i32, id: *mut i32, port: *mut i32, state: *mut i32, extra: *mut i32, length: *mut i32) -> i32;
    /// Names the export that is called for events of the type, instead of the one of the table of callbacks. Returns 0, -1 for a bad type or pointer, -3 when the app exports no such function of the callback's signature.
    pub fn ocre_register_dispatcher(kind: i32, name: *const u8) -> i32;
    /// Copies the value of a key of the app's config, as much of it as fits, without a zero byte at its end. Returns the length of the whole value, -3 when there is no such key, -1 for a bad pointer.
    pub fn wasmbed_config_get(key: *const u8, key_length: i32, buffer: *mut u8, buffer_length: i32) -> i32;
    /// Publishes a value that travels with the next heartbeat. Returns 0, -1 for a bad pointer or an empty or overlong name, -5 when the app has published too many names.
    pub fn wasmbed_metric_set(name: *const u8, name_length: i32, value: i32) -> i32;
    /// Writes a line to the device's log: level 0 debug, 1 info, 2 warning, 3 error. Lines above the device's rate are dropped and counted. Returns 0, or -1 for a bad level or pointer.
    pub fn wasmbed_log(level: i32, text: *const u8, length: i32) -> i32;
    /// Makes a timer; ids are 1 to 8. Returns 0, -1 for a bad id, -4 when it exists.
    pub fn ocre_timer_create(id: i32) -> i32;
    /// Starts a timer, or starts it anew: once, or again and again. Returns 0, -1 for a time below 1, -3 when there is no such timer.
    pub fn ocre_timer_start(id: i32, milliseconds: i32, periodic: i32) -> i32;
    /// Stops a timer. Returns 0, or -3 when there is no such timer.
    pub fn ocre_timer_stop(id: i32) -> i32;
    /// Stops and removes a timer. Returns 0, or -3 when there is no such timer.
    pub fn ocre_timer_delete(id: i32) -> i32;
    /// Milliseconds until the timer fires, 0 when it is stopped, -3 when there is no such timer.
    pub fn ocre_timer_get_remaining(id: i32) -> i32;
    /// Gets the pins ready. Returns 0.
    pub fn ocre_gpio_init() -> i32;
    /// Sets the direction: 0 input, 1 output. Returns 0, or -1 when the board has no such pin or the pin cannot do it.
    pub fn ocre_gpio_configure(port: i32, pin: i32, direction: i32) -> i32;
    /// Drives an output: 0 low, else high. Returns 0, or -1 when the board has no such output.
    pub fn ocre_gpio_pin_set(port: i32, pin: i32, state: i32) -> i32;
    /// The level, 0 or 1; -1 when the board has no such pin.
    pub fn ocre_gpio_pin_get(port: i32, pin: i32) -> i32;
    /// Inverts an output. Returns 0, or -1 when the board has no such output.
    pub fn ocre_gpio_pin_toggle(port: i32, pin: i32) -> i32;
    /// Asks for an event at each change of an input. Returns 0, -1 when the board has no such input, -5 when the app watches too many.
    pub fn ocre_gpio_register_callback(port: i32, pin: i32) -> i32;
    /// Ends what ocre_gpio_register_callback began. Returns 0, or -3 when nothing was registered.
    pub fn ocre_gpio_unregister_callback(port: i32, pin: i32) -> i32;
    /// Like ocre_gpio_configure; names are led0 and on, button0 and on.
    pub fn ocre_gpio_configure_by_name(name: *const u8, direction: i32) -> i32;
    /// Like ocre_gpio_pin_set.
    pub fn ocre_gpio_set_by_name(name: *const u8, state: i32) -> i32;
    /// Like ocre_gpio_pin_get.
    pub fn ocre_gpio_get_by_name(name: *const u8) -> i32;
    /// Like ocre_gpio_pin_toggle.
    pub fn ocre_gpio_toggle_by_name(name: *const u8) -> i32;
    /// Lends the device memory of the app for messages that come: at any time the device writes there and nowhere else. Another call replaces the buffer, length 0 takes it back; messages in the former one are gone. Returns 0, or -1 for a bad pointer.
    pub fn wasmbed_message_buffer(buffer: *mut u8, buffer_length: i32) -> i32;
    /// Asks for the messages whose topic begins with the text. Returns 0, also when the app has subscribed to it already, -1 for a bad pointer or an empty or overlong topic, -5 when the app has too many subscriptions or has lent no buffer.
    pub fn ocre_subscribe_message(topic: *const u8) -> i32;
    /// Ends what ocre_subscribe_message began; what is queued still comes. Returns 0, -1 for a bad pointer, -3 when there is no such subscription.
    pub fn wasmbed_unsubscribe_message(topic: *const u8) -> i32;
    /// Queues a message once for each app of the device with a matching subscription, the one that publishes too, and lets the others run. Returns 0, -1 for a bad pointer or what is empty or overlong, -3 when no app has subscribed, -4 when none of those that have had room.
    pub fn ocre_publish_message(topic: *const u8, content_type: *const u8, payload: *const u8, payload_length: i32) -> i32;
    /// Gets the sensors ready. Returns 0.
    pub fn ocre_sensors_init() -> i32;
    /// The number of sensors; their ids count from 0.
    pub fn ocre_sensors_discover() -> i32;
    /// The handle of a sensor, or -3 when there is none.
    pub fn ocre_sensors_get_handle(id: i32) -> i32;
    /// Opens a sensor. Returns 0, or -3 when there is none.
    pub fn ocre_sensors_open(handle: i32) -> i32;
    /// The number of channels, or -3 when there is no such sensor.
    pub fn ocre_sensors_get_channel_count(handle: i32) -> i32;
    /// What a channel measures: 0 temperature in degrees Celsius; -3 when there is no such channel.
    pub fn ocre_sensors_get_channel_type(handle: i32, index: i32) -> i32;
    /// The measured value of a channel type in its unit. Not a number when the sensor is not open or does not answer.
    pub fn ocre_sensors_read(handle: i32, channel: i32) -> f64;
}
