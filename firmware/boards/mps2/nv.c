// SPDX-License-Identifier: Apache-2.0
//
// Memory that stays: the machine's PSRAM, which the emulator keeps in a file. It behaves
// like NOR flash to the agent: erased in blocks, written once.
#include <string.h>

#include "board.h"
#include "mps2.h"
#include "port.h"

#define ERASE_SIZE 4096u

static const struct port_nv nv = {
	.map = (const uint8_t *)BOARD_NV_BASE,
	.size = BOARD_NV_SIZE,
	.erase_size = ERASE_SIZE,
	.write_size = 4,
};

const struct port_nv *port_nv(void)
{
	return &nv;
}

int port_nv_erase(uint32_t offset, uint32_t len)
{
	if (offset % ERASE_SIZE != 0 || len % ERASE_SIZE != 0 || offset > nv.size || len > nv.size - offset) {
		return PORT_EINVAL;
	}
	sandbox_suspend();
	memset((uint8_t *)BOARD_NV_BASE + offset, 0xFF, len);
	sandbox_resume();
	return PORT_OK;
}

int port_nv_write(uint32_t offset, const void *data, uint32_t len)
{
	if (offset % nv.write_size != 0 || len % nv.write_size != 0 || offset > nv.size ||
	    len > nv.size - offset) {
		return PORT_EINVAL;
	}
	sandbox_suspend();
	memcpy((uint8_t *)BOARD_NV_BASE + offset, data, len);
	sandbox_resume();
	return PORT_OK;
}

// Behind what keeps: the emulator maps the same file, and the supervisor writes to it.
const volatile uint8_t *port_mailbox(uint32_t *size)
{
	*size = BOARD_MAILBOX_SIZE;
	return (const volatile uint8_t *)(BOARD_NV_BASE + BOARD_NV_SIZE);
}

// The blob starts with "WBP1", its whole length (2 bytes, little endian) and the hardware
// address (6 bytes); the agent checks the rest.
const uint8_t *port_provision(size_t *len)
{
	const uint8_t *p = (const uint8_t *)BOARD_PROVISION_BASE;
	uint32_t n = p[4] | (uint32_t)p[5] << 8;
	if (memcmp(p, "WBP1", 4) != 0 || n < 12 || n > BOARD_PROVISION_SIZE) {
		return NULL;
	}
	*len = n;
	return p;
}
