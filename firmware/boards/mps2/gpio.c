// SPDX-License-Identifier: Apache-2.0
//
// Pins. Port 0 holds the LEDs: 0 and 1 the user LEDs of the FPGA, 2 to 9 the LEDs of the
// board controller. Port 1 holds the two push buttons.
#include <string.h>

#include "board.h"
#include "cortex.h"
#include "port.h"

enum { FPGAIO_LED = 0x0, FPGAIO_BUTTON = 0x8, SCC_LED = 0x4 };
enum { PORT_BUTTONS = 1, USER_LEDS = 2, SCC_LEDS = 8, BUTTONS = 2 };

static uint32_t leds; // as last set: the board controller's register cannot be trusted to read back

int port_gpio_configure(uint32_t port, uint32_t pin, enum port_direction dir)
{
	if (port == PORT_LEDS && pin < USER_LEDS + SCC_LEDS) {
		return dir == PORT_OUT ? PORT_OK : PORT_ENOTSUP;
	}
	if (port == PORT_BUTTONS && pin < BUTTONS) {
		return dir == PORT_IN ? PORT_OK : PORT_ENOTSUP;
	}
	return PORT_EINVAL;
}

int port_gpio_set(uint32_t port, uint32_t pin, int level)
{
	if (port != PORT_LEDS || pin >= USER_LEDS + SCC_LEDS) {
		return PORT_EINVAL;
	}
	leds = (leds & ~(1u << pin)) | (uint32_t)(level != 0) << pin;
	REG(BOARD_FPGAIO + FPGAIO_LED) = leds & ((1u << USER_LEDS) - 1);
	REG(BOARD_SCC + SCC_LED) = leds >> USER_LEDS;
	return PORT_OK;
}

int port_gpio_get(uint32_t port, uint32_t pin)
{
	if (port == PORT_LEDS && pin < USER_LEDS + SCC_LEDS) {
		return (int)(leds >> pin & 1u);
	}
	if (port == PORT_BUTTONS && pin < BUTTONS) {
		return (int)(REG(BOARD_FPGAIO + FPGAIO_BUTTON) >> pin & 1u);
	}
	return PORT_EINVAL;
}

int port_gpio_named(const char *name, size_t len, uint32_t *port, uint32_t *pin)
{
	static const struct { char prefix[8]; uint32_t port, pins; } kinds[] = {
		{"led", PORT_LEDS, USER_LEDS + SCC_LEDS},
		{"button", PORT_BUTTONS, BUTTONS},
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		size_t n = strlen(kinds[i].prefix);
		if (len == n + 1 && memcmp(name, kinds[i].prefix, n) == 0 && name[n] >= '0' &&
		    (uint32_t)(name[n] - '0') < kinds[i].pins) {
			*port = kinds[i].port;
			*pin = (uint32_t)(name[n] - '0');
			return PORT_OK;
		}
	}
	return PORT_EINVAL;
}
