// SPDX-License-Identifier: Apache-2.0
// Generated from devices/hostapi/table.go by `go generate ./devices/hostapi`. Do not edit.
//
// Host functions for applications in C. devices/hostapi/README.md is the reference.
#ifndef WASMBED_H
#define WASMBED_H

#include <stdint.h>

// WASMBED_EXPORT(name) makes a function visible to the device: run and the callbacks.
#define WASMBED_EXPORT(name) __attribute__((export_name(#name)))
#define WASMBED_IMPORT(name) __attribute__((import_module("env"), import_name(#name)))

enum {
	WASMBED_OK = 0,
	WASMBED_INVALID = -1,
	WASMBED_TIMEOUT = -2,
	WASMBED_NOT_FOUND = -3,
	WASMBED_BUSY = -4,
	WASMBED_NO_MEMORY = -5,
	WASMBED_EVENT_TIMER = 0,
	WASMBED_EVENT_GPIO = 1,
	WASMBED_EVENT_SENSOR = 2,
	WASMBED_EVENT_MESSAGE = 3,
	WASMBED_LOG_DEBUG = 0,
	WASMBED_LOG_INFO = 1,
	WASMBED_LOG_WARNING = 2,
	WASMBED_LOG_ERROR = 3,
	WASMBED_CHANNEL_TEMPERATURE = 0,
	WASMBED_MAX_TIMERS = 8,
	WASMBED_MAX_EVENTS = 16,
	WASMBED_MAX_GPIO_CALLBACKS = 8,
	WASMBED_MAX_LOG_LINE = 160,
	WASMBED_MAX_METRICS = 8,
	WASMBED_MAX_METRIC_NAME = 32,
	WASMBED_MAX_CONFIG_KEY = 63,
	WASMBED_MAX_SUBSCRIPTIONS = 4,
	WASMBED_MAX_TOPIC = 63,
	WASMBED_MAX_CONTENT_TYPE = 31,
	WASMBED_MAX_PAYLOAD = 512,
};

// Suspends the app. Returns 0, or -1 when the time is negative.
WASMBED_IMPORT(ocre_sleep)
int32_t ocre_sleep(int32_t milliseconds);

// Takes the oldest event from the app's queue. Returns 0, -3 when there is none, -1 for a bad pointer. Timer: id is the timer. GPIO: id is the pin, with its port and state. Message: id is its number; port, state and extra point to topic, content type and payload, which has length bytes.
WASMBED_IMPORT(ocre_get_event)
int32_t ocre_get_event(int32_t *type, int32_t *id, int32_t *port, int32_t *state, int32_t *extra, int32_t *length);

// Names the export that is called for events of the type, instead of the one of the table of callbacks. Returns 0, -1 for a bad type or pointer, -3 when the app exports no such function of the callback's signature.
WASMBED_IMPORT(ocre_register_dispatcher)
int32_t ocre_register_dispatcher(int32_t type, const char *name);

// Copies the value of a key of the app's config, as much of it as fits, without a zero byte at its end. Returns the length of the whole value, -3 when there is no such key, -1 for a bad pointer.
WASMBED_IMPORT(wasmbed_config_get)
int32_t wasmbed_config_get(const char *key, int32_t key_length, char *buffer, int32_t buffer_length);

// Publishes a value that travels with the next heartbeat. Returns 0, -1 for a bad pointer or an empty or overlong name, -5 when the app has published too many names.
WASMBED_IMPORT(wasmbed_metric_set)
int32_t wasmbed_metric_set(const char *name, int32_t name_length, int32_t value);

// Writes a line to the device's log: level 0 debug, 1 info, 2 warning, 3 error. Lines above the device's rate are dropped and counted. Returns 0, or -1 for a bad level or pointer.
WASMBED_IMPORT(wasmbed_log)
int32_t wasmbed_log(int32_t level, const char *text, int32_t length);

// Makes a timer; ids are 1 to 8. Returns 0, -1 for a bad id, -4 when it exists.
WASMBED_IMPORT(ocre_timer_create)
int32_t ocre_timer_create(int32_t id);

// Starts a timer, or starts it anew: once, or again and again. Returns 0, -1 for a time below 1, -3 when there is no such timer.
WASMBED_IMPORT(ocre_timer_start)
int32_t ocre_timer_start(int32_t id, int32_t milliseconds, int32_t periodic);

// Stops a timer. Returns 0, or -3 when there is no such timer.
WASMBED_IMPORT(ocre_timer_stop)
int32_t ocre_timer_stop(int32_t id);

// Stops and removes a timer. Returns 0, or -3 when there is no such timer.
WASMBED_IMPORT(ocre_timer_delete)
int32_t ocre_timer_delete(int32_t id);

// Milliseconds until the timer fires, 0 when it is stopped, -3 when there is no such timer.
WASMBED_IMPORT(ocre_timer_get_remaining)
int32_t ocre_timer_get_remaining(int32_t id);

// Gets the pins ready. Returns 0.
WASMBED_IMPORT(ocre_gpio_init)
int32_t ocre_gpio_init(void);

// Sets the direction: 0 input, 1 output. Returns 0, or -1 when the board has no such pin or the pin cannot do it.
WASMBED_IMPORT(ocre_gpio_configure)
int32_t ocre_gpio_configure(int32_t port, int32_t pin, int32_t direction);

// Drives an output: 0 low, else high. Returns 0, or -1 when the board has no such output.
WASMBED_IMPORT(ocre_gpio_pin_set)
int32_t ocre_gpio_pin_set(int32_t port, int32_t pin, int32_t state);

// The level, 0 or 1; -1 when the board has no such pin.
WASMBED_IMPORT(ocre_gpio_pin_get)
int32_t ocre_gpio_pin_get(int32_t port, int32_t pin);

// Inverts an output. Returns 0, or -1 when the board has no such output.
WASMBED_IMPORT(ocre_gpio_pin_toggle)
int32_t ocre_gpio_pin_toggle(int32_t port, int32_t pin);

// Asks for an event at each change of an input. Returns 0, -1 when the board has no such input, -5 when the app watches too many.
WASMBED_IMPORT(ocre_gpio_register_callback)
int32_t ocre_gpio_register_callback(int32_t port, int32_t pin);

// Ends what ocre_gpio_register_callback began. Returns 0, or -3 when nothing was registered.
WASMBED_IMPORT(ocre_gpio_unregister_callback)
int32_t ocre_gpio_unregister_callback(int32_t port, int32_t pin);

// Like ocre_gpio_configure; names are led0 and on, button0 and on.
WASMBED_IMPORT(ocre_gpio_configure_by_name)
int32_t ocre_gpio_configure_by_name(const char *name, int32_t direction);

// Like ocre_gpio_pin_set.
WASMBED_IMPORT(ocre_gpio_set_by_name)
int32_t ocre_gpio_set_by_name(const char *name, int32_t state);

// Like ocre_gpio_pin_get.
WASMBED_IMPORT(ocre_gpio_get_by_name)
int32_t ocre_gpio_get_by_name(const char *name);

// Like ocre_gpio_pin_toggle.
WASMBED_IMPORT(ocre_gpio_toggle_by_name)
int32_t ocre_gpio_toggle_by_name(const char *name);

// Lends the device memory of the app for messages that come: at any time the device writes there and nowhere else. Another call replaces the buffer, length 0 takes it back; messages in the former one are gone. Returns 0, or -1 for a bad pointer.
WASMBED_IMPORT(wasmbed_message_buffer)
int32_t wasmbed_message_buffer(char *buffer, int32_t buffer_length);

// Asks for the messages whose topic begins with the text. Returns 0, also when the app has subscribed to it already, -1 for a bad pointer or an empty or overlong topic, -5 when the app has too many subscriptions or has lent no buffer.
WASMBED_IMPORT(ocre_subscribe_message)
int32_t ocre_subscribe_message(const char *topic);

// Ends what ocre_subscribe_message began; what is queued still comes. Returns 0, -1 for a bad pointer, -3 when there is no such subscription.
WASMBED_IMPORT(wasmbed_unsubscribe_message)
int32_t wasmbed_unsubscribe_message(const char *topic);

// Queues a message once for each app of the device with a matching subscription, the one that publishes too, and lets the others run. Returns 0, -1 for a bad pointer or what is empty or overlong, -3 when no app has subscribed, -4 when none of those that have had room.
WASMBED_IMPORT(ocre_publish_message)
int32_t ocre_publish_message(const char *topic, const char *content_type, const char *payload, int32_t payload_length);

// Gets the sensors ready. Returns 0.
WASMBED_IMPORT(ocre_sensors_init)
int32_t ocre_sensors_init(void);

// The number of sensors; their ids count from 0.
WASMBED_IMPORT(ocre_sensors_discover)
int32_t ocre_sensors_discover(void);

// The handle of a sensor, or -3 when there is none.
WASMBED_IMPORT(ocre_sensors_get_handle)
int32_t ocre_sensors_get_handle(int32_t id);

// Opens a sensor. Returns 0, or -3 when there is none.
WASMBED_IMPORT(ocre_sensors_open)
int32_t ocre_sensors_open(int32_t handle);

// The number of channels, or -3 when there is no such sensor.
WASMBED_IMPORT(ocre_sensors_get_channel_count)
int32_t ocre_sensors_get_channel_count(int32_t handle);

// What a channel measures: 0 temperature in degrees Celsius; -3 when there is no such channel.
WASMBED_IMPORT(ocre_sensors_get_channel_type)
int32_t ocre_sensors_get_channel_type(int32_t handle, int32_t index);

// The measured value of a channel type in its unit. Not a number when the sensor is not open or does not answer.
WASMBED_IMPORT(ocre_sensors_read)
double ocre_sensors_read(int32_t handle, int32_t channel);

#endif
