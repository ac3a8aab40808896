// SPDX-License-Identifier: Apache-2.0
//
// LAN9118 Ethernet controller, 32-bit bus, programmed I/O. The handler only masks the
// interrupt and wakes the loop; the loop empties the FIFO and arms it again.
#include <string.h>

#include "board.h"
#include "cortex.h"
#include "mps2.h"
#include "port.h"

enum {
	RX_DATA = 0x00, TX_DATA = 0x20, RX_STATUS = 0x40, TX_STATUS = 0x48,
	IRQ_CFG = 0x54, INT_STS = 0x58, INT_EN = 0x5C, BYTE_TEST = 0x64, FIFO_INT = 0x68,
	RX_CFG = 0x6C, TX_CFG = 0x70, HW_CFG = 0x74, RX_DP_CTRL = 0x78, RX_FIFO_INF = 0x7C,
	TX_FIFO_INF = 0x80, MAC_CMD = 0xA4, MAC_DATA = 0xA8,
};
enum { MAC_CR = 1, MAC_ADDRH = 2, MAC_ADDRL = 3 };

#define ETH(r) REG(BOARD_ETH + (r))
#define INT_RSFL (1u << 3)
#define HW_CFG_RESET 1u
#define HW_CFG_MBO (1u << 20)
#define HW_CFG_TX_FIFO_KB (5u << 16)
#define TX_CFG_ON 2u
#define MAC_CR_TX_RX 0xCu
#define MAC_CMD_BUSY (1u << 31)
#define RX_ERROR (1u << 15)
#define TX_FIRST_LAST 0x3000u
#define SPIN 100000u

void eth_irq(void)
{
	ETH(INT_EN) = 0;
	clock_wake();
}

static int mac_write(uint32_t reg, uint32_t value)
{
	ETH(MAC_DATA) = value;
	ETH(MAC_CMD) = MAC_CMD_BUSY | reg;
	for (uint32_t i = 0; i < SPIN; i++) {
		if ((ETH(MAC_CMD) & MAC_CMD_BUSY) == 0) {
			return PORT_OK;
		}
	}
	return PORT_EIO;
}

int eth_start(const uint8_t mac[6])
{
	if (ETH(BYTE_TEST) != 0x87654321u) {
		return PORT_EIO;
	}
	ETH(HW_CFG) = HW_CFG_RESET;
	for (uint32_t i = 0; (ETH(HW_CFG) & HW_CFG_RESET) != 0; i++) {
		if (i == SPIN) {
			return PORT_EIO;
		}
	}
	ETH(HW_CFG) = HW_CFG_MBO | HW_CFG_TX_FIFO_KB;
	int rc = mac_write(MAC_ADDRH, mac[4] | (uint32_t)mac[5] << 8);
	if (rc == PORT_OK) {
		rc = mac_write(MAC_ADDRL, mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 |
		                              (uint32_t)mac[3] << 24);
	}
	ETH(INT_EN) = 0;
	ETH(INT_STS) = UINT32_MAX;
	ETH(IRQ_CFG) = 0x111; // enabled, active high, push-pull
	ETH(FIFO_INT) = 0;    // at the first frame
	ETH(TX_CFG) = TX_CFG_ON;
	if (rc == PORT_OK) {
		rc = mac_write(MAC_CR, MAC_CR_TX_RX);
	}
	irq_enable(BOARD_IRQ_ETH);
	eth_arm();
	return rc;
}

bool eth_link_up(void)
{
	return ETH(BYTE_TEST) == 0x87654321u;
}

void eth_clear(void)
{
	ETH(INT_STS) = INT_RSFL;
}

void eth_arm(void)
{
	ETH(INT_EN) = INT_RSFL;
}

int eth_receive(uint8_t *frame, size_t cap)
{
	while (((ETH(RX_FIFO_INF) >> 16) & 0xFFu) != 0) {
		uint32_t status = ETH(RX_STATUS);
		uint32_t len = (status >> 16) & 0x3FFFu;
		uint32_t words = (len + 3) / 4;
		bool good = (status & RX_ERROR) == 0 && len >= 4 && len <= cap;
		for (uint32_t i = 0; i < words; i++) {
			uint32_t word = ETH(RX_DATA);
			if (good) {
				size_t left = cap - 4 * i;
				memcpy(frame + 4 * i, &word, left < 4 ? left : 4);
			}
		}
		if (good) {
			return (int)(len - 4); // without the frame check sequence
		}
	}
	return 0;
}

int eth_send(const uint8_t *frame, size_t len)
{
	uint32_t words = (uint32_t)(len + 3) / 4;
	if (len > 1514) {
		return PORT_EINVAL;
	}
	while (((ETH(TX_FIFO_INF) >> 16) & 0xFFu) != 0) {
		(void)ETH(TX_STATUS);
	}
	if ((ETH(TX_FIFO_INF) & 0xFFFFu) < 4 * words + 8) {
		return PORT_EAGAIN;
	}
	ETH(TX_DATA) = TX_FIRST_LAST | (uint32_t)len;
	ETH(TX_DATA) = (uint32_t)len << 16 | (uint32_t)len;
	for (uint32_t i = 0; i < words; i++) {
		uint32_t word = 0;
		size_t left = len - 4 * i;
		memcpy(&word, frame + 4 * i, left < 4 ? left : 4);
		ETH(TX_DATA) = word;
	}
	return PORT_OK;
}
