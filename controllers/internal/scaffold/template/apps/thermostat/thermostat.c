// SPDX-License-Identifier: Apache-2.0
//
// A thermostat with hysteresis: LED 1 stands for the heater. It goes on when the temperature falls below
// target - band / 2 and off above target + band / 2, so that it does not flutter around the target. Its log has the
// temperature at the start, when the heater switches and once a minute.
//
// Config: target and band in thousandths of a degree Celsius, period in milliseconds.
#include "wasmbed.h"

enum { TIMER = 1, SENSOR = 0, PORT = 0, HEATER = 1, OUTPUT = 1, SAY_EVERY = 60000 };

static int32_t target = 21000, band = 1000, period = 1000;
static int32_t heating, unsaid = SAY_EVERY; // unsaid: milliseconds since the log had the temperature

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

static int32_t put(char *line, int32_t at, const char *text)
{
	while (*text != 0) {
		line[at++] = *text++;
	}
	return at;
}

static int32_t put_number(char *line, int32_t at, int32_t number)
{
	if (number >= 10) {
		at = put_number(line, at, number / 10);
	}
	line[at++] = (char)('0' + number % 10);
	return at;
}

// Logs "21.3 °C, " and what follows from it.
static void say(int32_t milli, const char *consequence)
{
	char line[64];
	int32_t at = 0, tenths = (milli < 0 ? -milli : milli) / 100;
	at = put(line, at, milli < 0 ? "-" : "");
	at = put_number(line, at, tenths / 10);
	at = put(line, at, ".");
	at = put_number(line, at, tenths % 10);
	at = put(line, at, " °C, ");
	at = put(line, at, consequence);
	wasmbed_log(WASMBED_LOG_INFO, line, at);
	unsaid = 0;
}

static void heat(int32_t on)
{
	heating = on;
	ocre_gpio_pin_set(PORT, HEATER, on);
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
	unsaid += period;
	if (!heating && milli < target - band / 2) {
		heat(1);
		say(milli, "too cold: heater on");
	} else if (heating && milli > target + band / 2) {
		heat(0);
		say(milli, "warm enough: heater off");
	} else if (unsaid >= SAY_EVERY) {
		say(milli, heating ? "heater on" : "heater off");
	}
	wasmbed_metric_set(KEY("temperature_milli"), milli);
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
