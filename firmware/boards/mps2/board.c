// SPDX-License-Identifier: Apache-2.0
//
// What the board is, and its start.
#include "board.h"
#include "cortex.h"
#include "layout.h"
#include "mps2.h"
#include "port.h"

extern uint8_t image_end[], data_start[], bss_end[];

#define FRAME_MAX 1024

const struct port_info *port_info(void)
{
	static struct port_info info = {
		.board = BOARD_NAME,
		.core = BOARD_CORE,
		.flash_bytes = BOARD_FLASH_SIZE,
		.ram_bytes = BOARD_RAM_SIZE,
		.frame_max = FRAME_MAX,
	};
	info.flash_used = (uint32_t)((uintptr_t)image_end - BOARD_FLASH_BASE);
	info.ram_static = (uint32_t)(bss_end - data_start);
	return &info;
}

void port_start(void)
{
	fault_start();
	clock_start();
	console_start();
	sandbox_start();
	watchdog_start();
	sensor_start();
	net_start();
}

uint64_t port_poll(void)
{
	console_drain();
	uint64_t next = net_poll();
	if (console_pending()) {
		uint64_t soon = port_now_us() + 1000;
		next = next < soon ? next : soon;
	}
	return next;
}

int port_noise(uint8_t out[32])
{
	uint32_t h = 2166136261u;
	for (int i = 0; i < 32; i++) {
		for (int j = 0; j < 64; j++) {
			h = (h ^ REG(BOARD_TIMER0 + 4)) * 16777619u;
		}
		out[i] = (uint8_t)(h >> 24);
	}
	return 0; // jitter of the clock: mixed in, never relied upon
}
