// SPDX-License-Identifier: Apache-2.0
//
// The temperature sensor: a TMP105 at address 0x48 of the shield's I2C connector, which
// the board drives bit by bit. Configured for 12 bits, 1/16 degree Celsius.
#include "board.h"
#include "cortex.h"
#include "mps2.h"
#include "port.h"

enum { I_SET = 0x0, I_CLEAR = 0x4 };
enum { SCL = 1, SDA = 2 };
enum { ADDRESS = 0x48, REG_TEMPERATURE = 0, REG_CONFIG = 1, CONFIG_12_BIT = 0x60 };

#define I2C(r) REG(BOARD_I2C + (r))

static bool present;

static void edge(void)
{
	for (volatile int i = 0; i < BOARD_CLOCK_HZ / 2000000; i++) { // about 100 kHz
	}
}

static void line(uint32_t pin, bool high)
{
	I2C(high ? I_SET : I_CLEAR) = pin;
	edge();
}

static void start_condition(void)
{
	line(SDA, true);
	line(SCL, true);
	line(SDA, false);
	line(SCL, false);
}

static void stop_condition(void)
{
	line(SDA, false);
	line(SCL, true);
	line(SDA, true);
}

// Clocks one bit; returns the level of the data line while the clock was high.
static bool bit(bool out)
{
	line(SDA, out);
	line(SCL, true);
	bool in = (I2C(I_SET) & SDA) != 0;
	line(SCL, false);
	return in;
}

// True when the byte was acknowledged.
static bool send(uint8_t byte)
{
	for (int i = 7; i >= 0; i--) {
		bit((byte >> i & 1) != 0);
	}
	return !bit(true);
}

static uint8_t receive(bool more)
{
	uint8_t byte = 0;
	for (int i = 0; i < 8; i++) {
		byte = (uint8_t)(byte << 1 | bit(true));
	}
	bit(!more);
	return byte;
}

void sensor_start(void)
{
	start_condition();
	present = send(ADDRESS << 1) && send(REG_CONFIG) && send(CONFIG_12_BIT);
	stop_condition();
}

int port_sensor_count(void)
{
	return present ? 1 : 0;
}

int port_sensor_read(uint32_t sensor, uint32_t channel, int32_t *milli)
{
	if (!present || sensor != 0 || channel != 0) {
		return PORT_EINVAL;
	}
	start_condition();
	bool ok = send(ADDRESS << 1) && send(REG_TEMPERATURE);
	start_condition();
	ok = ok && send(ADDRESS << 1 | 1);
	if (!ok) {
		stop_condition();
		return PORT_EIO;
	}
	int high = receive(true);
	int low = receive(false);
	stop_condition();
	*milli = (int16_t)(high << 8 | low) / 16 * 125 / 2; // sixteenths of a degree
	return PORT_OK;
}
