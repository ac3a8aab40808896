// SPDX-License-Identifier: Apache-2.0
//
// The console on UART 0. Output goes through a ring and is dropped when it is full;
// input is collected by the interrupt.
#include "board.h"
#include "cortex.h"
#include "mps2.h"
#include "port.h"

enum { U_DATA = 0x0, U_STATE = 0x4, U_CTRL = 0x8, U_INTCLEAR = 0xC, U_BAUDDIV = 0x10 };
enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2, CTRL_TX = 1, CTRL_RX = 2, CTRL_RX_IRQ = 8, INT_RX = 2 };

#define UART(r) REG(BOARD_UART + (r))
#define OUT_SIZE 1024u
#define IN_SIZE 128u

static char out[OUT_SIZE];
static uint32_t out_head, out_tail; // free running
static char in[IN_SIZE];
static volatile uint32_t in_head;
static uint32_t in_tail;

void uart_rx_irq(void)
{
	UART(U_INTCLEAR) = INT_RX;
	while ((UART(U_STATE) & STATE_RX_FULL) != 0) {
		char c = (char)UART(U_DATA);
		if (in_head - in_tail < IN_SIZE) {
			in[in_head % IN_SIZE] = c;
			in_head++;
		}
	}
	clock_wake();
}

void console_start(void)
{
	UART(U_BAUDDIV) = BOARD_CLOCK_HZ / 115200u;
	UART(U_CTRL) = CTRL_TX | CTRL_RX | CTRL_RX_IRQ;
	irq_enable(BOARD_IRQ_UART_RX);
}

bool console_pending(void)
{
	return out_head != out_tail;
}

void console_drain(void)
{
	while (out_tail != out_head && (UART(U_STATE) & STATE_TX_FULL) == 0) {
		UART(U_DATA) = (uint8_t)out[out_tail % OUT_SIZE];
		out_tail++;
	}
}

void port_console_write(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (out_head - out_tail == OUT_SIZE) {
			console_drain();
			if (out_head - out_tail == OUT_SIZE) {
				return;
			}
		}
		out[out_head % OUT_SIZE] = text[i];
		out_head++;
	}
	console_drain();
}

size_t port_console_read(char *buf, size_t cap)
{
	size_t n = 0;
	while (n < cap && in_tail != in_head) {
		buf[n++] = in[in_tail % IN_SIZE];
		in_tail++;
	}
	return n;
}

void console_panic(const char *text)
{
	for (uint32_t spin = 0; *text != 0 && spin < 100000; spin++) {
		if ((UART(U_STATE) & STATE_TX_FULL) == 0) {
			UART(U_DATA) = (uint8_t)*text++;
			spin = 0;
		}
	}
}
