// SPDX-License-Identifier: Apache-2.0
// Generated from devices/hostapi/table.go by `go generate ./devices/hostapi`. Do not edit.
//
// HOSTAPI_TABLE(X) calls X(name, signature, permission, blocking) for each host function, all of import
// module HOSTAPI_MODULE. The signature is written as wasm_signature writes it; a blocking function suspends
// the app that calls it.
#ifndef HOSTAPI_TABLE_H
#define HOSTAPI_TABLE_H

#define HOSTAPI_MODULE "env"

enum hostapi_permission {
	HOSTAPI_PERMISSION_NONE = 0,
	HOSTAPI_PERMISSION_GPIO = 1,
	HOSTAPI_PERMISSION_LOG = 2,
	HOSTAPI_PERMISSION_MESSAGING = 4,
	HOSTAPI_PERMISSION_SENSOR = 8,
	HOSTAPI_PERMISSION_TIMER = 16,
};

// HOSTAPI_PERMISSIONS(X) calls X(name, bit) for each permission, ascending by name.
#define HOSTAPI_PERMISSIONS(X) \
	X("gpio", HOSTAPI_PERMISSION_GPIO) \
	X("log", HOSTAPI_PERMISSION_LOG) \
	X("messaging", HOSTAPI_PERMISSION_MESSAGING) \
	X("sensor", HOSTAPI_PERMISSION_SENSOR) \
	X("timer", HOSTAPI_PERMISSION_TIMER)

enum hostapi_code {
	HOSTAPI_OK = 0,
	HOSTAPI_INVALID = -1,
	HOSTAPI_TIMEOUT = -2,
	HOSTAPI_NOT_FOUND = -3,
	HOSTAPI_BUSY = -4,
	HOSTAPI_NO_MEMORY = -5,
};

#define HOSTAPI_EVENT_TIMER 0
#define HOSTAPI_EVENT_GPIO 1
#define HOSTAPI_EVENT_SENSOR 2
#define HOSTAPI_EVENT_MESSAGE 3
#define HOSTAPI_LOG_DEBUG 0
#define HOSTAPI_LOG_INFO 1
#define HOSTAPI_LOG_WARNING 2
#define HOSTAPI_LOG_ERROR 3
#define HOSTAPI_CHANNEL_TEMPERATURE 0
#define HOSTAPI_MAX_TIMERS 8
#define HOSTAPI_MAX_EVENTS 16
#define HOSTAPI_MAX_GPIO_CALLBACKS 8
#define HOSTAPI_MAX_LOG_LINE 160
#define HOSTAPI_MAX_METRICS 8
#define HOSTAPI_MAX_METRIC_NAME 32
#define HOSTAPI_MAX_CONFIG_KEY 63
#define HOSTAPI_MAX_SUBSCRIPTIONS 4
#define HOSTAPI_MAX_TOPIC 63
#define HOSTAPI_MAX_CONTENT_TYPE 31
#define HOSTAPI_MAX_PAYLOAD 512

#define HOSTAPI_ENTRY_INITIALIZE "_initialize"
#define HOSTAPI_ENTRY_RUN "run"

// HOSTAPI_CALLBACKS(X) calls X(name, event, signature) for each export that the device calls.
#define HOSTAPI_CALLBACKS(X) \
	X("timer_callback", 0, "i:") \
	X("gpio_callback", 1, "iii:") \
	X("message_callback", 3, "iiiii:")

#define HOSTAPI_TABLE(X) \
	X(ocre_sleep, "i:i", HOSTAPI_PERMISSION_NONE, 1) \
	X(ocre_get_event, "iiiiii:i", HOSTAPI_PERMISSION_NONE, 0) \
	X(ocre_register_dispatcher, "ii:i", HOSTAPI_PERMISSION_NONE, 0) \
	X(wasmbed_config_get, "iiii:i", HOSTAPI_PERMISSION_NONE, 0) \
	X(wasmbed_metric_set, "iii:i", HOSTAPI_PERMISSION_NONE, 0) \
	X(wasmbed_log, "iii:i", HOSTAPI_PERMISSION_LOG, 0) \
	X(ocre_timer_create, "i:i", HOSTAPI_PERMISSION_TIMER, 0) \
	X(ocre_timer_start, "iii:i", HOSTAPI_PERMISSION_TIMER, 0) \
	X(ocre_timer_stop, "i:i", HOSTAPI_PERMISSION_TIMER, 0) \
	X(ocre_timer_delete, "i:i", HOSTAPI_PERMISSION_TIMER, 0) \
	X(ocre_timer_get_remaining, "i:i", HOSTAPI_PERMISSION_TIMER, 0) \
	X(ocre_gpio_init, ":i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_configure, "iii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_pin_set, "iii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_pin_get, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_pin_toggle, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_register_callback, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_unregister_callback, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_configure_by_name, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_set_by_name, "ii:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_get_by_name, "i:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(ocre_gpio_toggle_by_name, "i:i", HOSTAPI_PERMISSION_GPIO, 0) \
	X(wasmbed_message_buffer, "ii:i", HOSTAPI_PERMISSION_MESSAGING, 0) \
	X(ocre_subscribe_message, "i:i", HOSTAPI_PERMISSION_MESSAGING, 0) \
	X(wasmbed_unsubscribe_message, "i:i", HOSTAPI_PERMISSION_MESSAGING, 0) \
	X(ocre_publish_message, "iiii:i", HOSTAPI_PERMISSION_MESSAGING, 1) \
	X(ocre_sensors_init, ":i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_discover, ":i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_get_handle, "i:i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_open, "i:i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_get_channel_count, "i:i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_get_channel_type, "ii:i", HOSTAPI_PERMISSION_SENSOR, 0) \
	X(ocre_sensors_read, "ii:F", HOSTAPI_PERMISSION_SENSOR, 0)

#endif
