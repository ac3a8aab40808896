// SPDX-License-Identifier: Apache-2.0
//
// Calls every host function, with good and with bad arguments. In mode "calls", run returns the number of the first
// line that did not get what devices/hostapi/README.md promises, and 0 when all did.
#include "wasmbed.h"

#define KEY(text) (text), sizeof(text) - 1
#define WANT(condition) do { if (!(condition)) { return __LINE__; } } while (0)

static char *const outside = (char *)0x10000000;

static int32_t calls_base(void)
{
	char value[8];
	WANT(wasmbed_config_get(KEY("mode"), value, sizeof value) == 5 && value[0] == 'c');
	WANT(wasmbed_config_get(KEY("long"), value, 2) == 300 && value[1] == 'x');
	WANT(wasmbed_config_get(KEY("none"), value, sizeof value) == WASMBED_NOT_FOUND);
	WANT(wasmbed_config_get(outside, 4, value, sizeof value) == WASMBED_INVALID);
	WANT(wasmbed_config_get(KEY("mode"), outside, 1) == WASMBED_INVALID);
	WANT(wasmbed_config_get(KEY("mode"), value, -1) == WASMBED_INVALID);
	WANT(ocre_sleep(1) == WASMBED_OK && ocre_sleep(-1) == WASMBED_INVALID);
	WANT(ocre_register_dispatcher(WASMBED_EVENT_GPIO, "on_button") == WASMBED_OK);
	WANT(ocre_register_dispatcher(WASMBED_EVENT_GPIO, "nowhere") == WASMBED_NOT_FOUND);
	WANT(ocre_register_dispatcher(WASMBED_EVENT_TIMER, "on_button") == WASMBED_NOT_FOUND); // of another type
	WANT(ocre_register_dispatcher(99, "on_button") == WASMBED_INVALID);
	WANT(ocre_register_dispatcher(WASMBED_EVENT_GPIO, outside) == WASMBED_INVALID);
	WANT(wasmbed_log(WASMBED_LOG_INFO, KEY("hello from the probe")) == WASMBED_OK);
	WANT(wasmbed_log(4, KEY("x")) == WASMBED_INVALID && wasmbed_log(1, outside, 1) == WASMBED_INVALID);
	return 0;
}

static int32_t calls_metrics(void)
{
	char name[] = "metric0";
	for (int i = 0; i < WASMBED_MAX_METRICS; i++) {
		name[6] = (char)('0' + i);
		WANT(wasmbed_metric_set(KEY(name), i) == WASMBED_OK);
	}
	WANT(wasmbed_metric_set(KEY("metric0"), -7) == WASMBED_OK);
	WANT(wasmbed_metric_set(KEY("one more"), 1) == WASMBED_NO_MEMORY);
	WANT(wasmbed_metric_set(name, 0, 1) == WASMBED_INVALID);
	WANT(wasmbed_metric_set(name, WASMBED_MAX_METRIC_NAME + 1, 1) == WASMBED_INVALID);
	WANT(wasmbed_metric_set(outside, 1, 1) == WASMBED_INVALID);
	return 0;
}

static int32_t calls_timers(void)
{
	WANT(ocre_timer_create(0) == WASMBED_INVALID && ocre_timer_create(WASMBED_MAX_TIMERS + 1) == WASMBED_INVALID);
	WANT(ocre_timer_create(1) == WASMBED_OK && ocre_timer_create(1) == WASMBED_BUSY);
	WANT(ocre_timer_start(2, 10, 0) == WASMBED_NOT_FOUND && ocre_timer_start(1, 0, 0) == WASMBED_INVALID);
	WANT(ocre_timer_get_remaining(1) == 0 && ocre_timer_get_remaining(2) == WASMBED_NOT_FOUND);
	WANT(ocre_timer_start(1, 60000, 1) == WASMBED_OK);
	WANT(ocre_timer_get_remaining(1) > 50000);
	WANT(ocre_timer_start(1, 1, 0) == WASMBED_OK); // anew, once
	int32_t type = -1, id = -1, port = -1, state = -1;
	int32_t got = WASMBED_NOT_FOUND;
	for (int i = 0; i < 2000 && got == WASMBED_NOT_FOUND; i++) {
		ocre_sleep(1);
		WANT(ocre_get_event((int32_t *)outside, 0, 0, 0, 0, 0) == WASMBED_INVALID); // must not lose the event
		got = ocre_get_event(&type, &id, &port, &state, 0, 0);
	}
	WANT(got == WASMBED_OK && type == WASMBED_EVENT_TIMER && id == 1 && port == 0 && state == 0);
	WANT(ocre_get_event(0, 0, 0, 0, 0, 0) == WASMBED_NOT_FOUND);
	WANT(ocre_timer_start(1, 60000, 0) == WASMBED_OK && ocre_timer_stop(1) == WASMBED_OK && ocre_timer_get_remaining(1) == 0);
	WANT(ocre_timer_delete(1) == WASMBED_OK && ocre_timer_delete(1) == WASMBED_NOT_FOUND && ocre_timer_stop(1) == WASMBED_NOT_FOUND);
	return 0;
}

static int32_t calls_pins(void)
{
	WANT(ocre_gpio_init() == WASMBED_OK);
	WANT(ocre_gpio_configure(0, 9, 1) == WASMBED_OK && ocre_gpio_configure(0, 10, 1) == WASMBED_INVALID);
	WANT(ocre_gpio_configure(1, 0, 0) == WASMBED_OK && ocre_gpio_configure(1, 0, 1) == WASMBED_INVALID);
	WANT(ocre_gpio_pin_set(0, 5, 1) == WASMBED_OK && ocre_gpio_pin_get(0, 5) == 1);
	WANT(ocre_gpio_pin_toggle(0, 5) == WASMBED_OK && ocre_gpio_pin_get(0, 5) == 0);
	WANT(ocre_gpio_pin_set(1, 0, 1) == WASMBED_INVALID && ocre_gpio_pin_get(2, 0) == WASMBED_INVALID);
	WANT(ocre_gpio_pin_set(0, -1, 1) == WASMBED_INVALID && ocre_gpio_pin_toggle(0, 32) == WASMBED_INVALID);
	WANT(ocre_gpio_configure_by_name("led6", 1) == WASMBED_OK && ocre_gpio_set_by_name("led6", 1) == WASMBED_OK);
	WANT(ocre_gpio_get_by_name("led6") == 1 && ocre_gpio_toggle_by_name("led6") == WASMBED_OK && ocre_gpio_pin_get(0, 6) == 0);
	WANT(ocre_gpio_get_by_name("button1") == 0 && ocre_gpio_set_by_name("button1", 1) == WASMBED_INVALID);
	WANT(ocre_gpio_get_by_name("lamp0") == WASMBED_INVALID && ocre_gpio_get_by_name(outside) == WASMBED_INVALID);
	WANT(ocre_gpio_register_callback(0, 1) == WASMBED_INVALID);
	WANT(ocre_gpio_register_callback(1, 1) == WASMBED_OK && ocre_gpio_register_callback(1, 1) == WASMBED_OK);
	WANT(ocre_gpio_unregister_callback(1, 1) == WASMBED_OK && ocre_gpio_unregister_callback(1, 1) == WASMBED_NOT_FOUND);
	return 0;
}

static int32_t calls_sensors(void)
{
	WANT(ocre_sensors_init() == WASMBED_OK && ocre_sensors_discover() == 1);
	double before = ocre_sensors_read(0, WASMBED_CHANNEL_TEMPERATURE);
	WANT(before != before); // not open: not a number
	WANT(ocre_sensors_get_handle(0) == 0 && ocre_sensors_get_handle(1) == WASMBED_NOT_FOUND);
	WANT(ocre_sensors_open(0) == WASMBED_OK && ocre_sensors_open(-1) == WASMBED_NOT_FOUND);
	WANT(ocre_sensors_get_channel_count(0) == 1 && ocre_sensors_get_channel_type(0, 0) == WASMBED_CHANNEL_TEMPERATURE);
	WANT(ocre_sensors_get_channel_type(0, 1) == WASMBED_NOT_FOUND && ocre_sensors_get_channel_count(7) == WASMBED_NOT_FOUND);
	double celsius = ocre_sensors_read(0, WASMBED_CHANNEL_TEMPERATURE);
	WANT(celsius > -40.0 && celsius < 125.0);
	double other = ocre_sensors_read(0, 5);
	WANT(other != other);
	return 0;
}

// LED 3 shows button 0.
WASMBED_EXPORT(on_button)
void on_button(int32_t pin, int32_t state, int32_t port)
{
	if (pin == 0 && port == 1) {
		ocre_gpio_pin_set(0, 3, state);
	}
}

// A timer that fires once; then nothing can wake the app, and it has completed.
WASMBED_EXPORT(timer_callback)
void timer_callback(int32_t id)
{
	ocre_gpio_pin_set(0, 4, id == 2);
}

WASMBED_EXPORT(run)
int32_t run(void)
{
	char mode[8] = {0};
	wasmbed_config_get(KEY("mode"), mode, sizeof mode);
	switch (mode[0]) {
	case 'b': // buttons
		ocre_register_dispatcher(WASMBED_EVENT_GPIO, "on_button");
		return ocre_gpio_register_callback(1, 0);
	case 'o': // once
		ocre_timer_create(2);
		return ocre_timer_start(2, 5, 0);
	}
	int32_t (*const parts[])(void) = {calls_base, calls_metrics, calls_timers, calls_pins, calls_sensors};
	for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		int32_t line = parts[i]();
		if (line != 0) {
			return line;
		}
	}
	return 0;
}
