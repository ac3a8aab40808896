// SPDX-License-Identifier: Apache-2.0
//
// A thermostat with hysteresis: LED 1 stands for the heater. It goes on when the temperature falls below
// target - band / 2 and off above target + band / 2, so that it does not flutter around the target.
//
// Config: target and band in thousandths of a degree Celsius, period in milliseconds.
#include "wasmbed.h"

enum { TIMER = 1, SENSOR = 0, PORT = 0, HEATER = 1, OUTPUT = 1 };

static int32_t target = 21000, band = 1000, period = 1000;
static int32_t heating;

#define KEY(text) (text), sizeof(text) - 1
#define SAY(level, text) wasmbed_log((level), (text), sizeof(text) - 1)

// Reads a whole number from the config; keeps *value when there is none.
static void configure(const char *key, int32_t key_length, int32_t *value)
{
	char text[12];
	int32_t n = wasmbed_config_get(key, key_length, text, sizeof text);
	if (n <= 0 || n > (int32_t)sizeof text) {
		return;
	}
	int32_t i = text[0] == '-', number = 0;
	for (; i < n; i++) {
		if (text[i] < '0' || text[i] > '9' || number > 100000000) {
			SAY(WASMBED_LOG_WARNING, "config: not a whole number, the default stays");
			return;
		}
		number = number * 10 + (text[i] - '0');
	}
	*value = text[0] == '-' ? -number : number;
}

static void heat(int32_t on)
{
	if (on == heating) {
		return;
	}
	heating = on;
	ocre_gpio_pin_set(PORT, HEATER, on);
	if (on) {
		SAY(WASMBED_LOG_INFO, "too cold: heater on");
	} else {
		SAY(WASMBED_LOG_INFO, "warm enough: heater off");
	}
}

WASMBED_EXPORT(timer_callback)
void timer_callback(int32_t id)
{
	(void)id;
	double celsius = ocre_sensors_read(SENSOR, WASMBED_CHANNEL_TEMPERATURE);
	if (!(celsius > -100.0 && celsius < 200.0)) {
		SAY(WASMBED_LOG_ERROR, "the sensor does not answer: heater off");
		heat(0);
		return;
	}
	int32_t milli = (int32_t)(celsius * 1000.0);
	wasmbed_metric_set(KEY("temperature_milli"), milli);
	if (milli < target - band / 2) {
		heat(1);
	} else if (milli > target + band / 2) {
		heat(0);
	}
	wasmbed_metric_set(KEY("heating"), heating);
}

WASMBED_EXPORT(run)
int32_t run(void)
{
	configure(KEY("target"), &target);
	configure(KEY("band"), &band);
	configure(KEY("period"), &period);
	ocre_sensors_init();
	if (ocre_sensors_discover() < 1 || ocre_sensors_open(SENSOR) != WASMBED_OK) {
		SAY(WASMBED_LOG_ERROR, "no temperature sensor");
		return 1;
	}
	ocre_gpio_configure(PORT, HEATER, OUTPUT);
	ocre_timer_create(TIMER);
	if (ocre_timer_start(TIMER, period, 1) != WASMBED_OK) {
		SAY(WASMBED_LOG_ERROR, "config: period is not a time");
		return 1;
	}
	SAY(WASMBED_LOG_INFO, "thermostat started");
	return 0;
}
