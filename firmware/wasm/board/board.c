// SPDX-License-Identifier: Apache-2.0
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004)
#define UART_CTRL REGISTER(0x40004008)
#define UART_BAUDDIV REGISTER(0x40004010)
#define TIMER_CTRL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004)
#define TIMER_RELOAD REGISTER(0x40000008)
#define AIRCR REGISTER(0xe000ed0c)
#define CPACR REGISTER(0xe000ed88)
#define SYSRESETREQ 0x05fa0004

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;

void board_write(const char *text, uint32_t length)
{
	while (length-- > 0) {
		while (UART_STATE & 1)
			;
		UART_DATA = (uint8_t)*text++;
	}
}

void board_print(const char *text)
{
	uint32_t n = 0;

	while (text[n])
		n++;
	board_write(text, n);
}

void board_print_number(uint32_t value)
{
	char digits[11];
	int i = 10;

	digits[i] = 0;
	do
		digits[--i] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	board_print(digits + i);
}

uint32_t board_ticks(void) { return ~TIMER_VALUE; }

enum { STACK_WORDS = 8192, STACK_MARK = 0x5b5b5b5b };
static volatile uint32_t *mark_end;

void board_mark_stack(void)
{
	uintptr_t sp;

	__asm__ volatile("mov %0, sp" : "=r"(sp));
	mark_end = (volatile uint32_t *)(sp - 64);
	for (volatile uint32_t *p = mark_end - STACK_WORDS; p < mark_end; p++)
		*p = STACK_MARK;
}

uint32_t board_stack_used(void)
{
	volatile uint32_t *p = mark_end - STACK_WORDS;

	while (p < mark_end && *p == STACK_MARK)
		p++;
	return (uint32_t)(mark_end - p) * 4;
}

_Noreturn void board_exit(int status)
{
	board_print(status ? "EXIT FAILURE\n" : "EXIT OK\n");
	AIRCR = SYSRESETREQ;
	for (;;)
		;
}

static void fault(void)
{
	board_print("FAULT\n");
	board_exit(1);
}

static void reset(void)
{
	uint32_t *from = &data_load;

#ifdef __ARM_FP
	CPACR |= 0xf << 20;
	__asm__ volatile("dsb\n\tisb");
#endif
	for (uint32_t *to = &data_start; to < &data_end;)
		*to++ = *from++;
	for (uint32_t *to = &bss_start; to < &bss_end;)
		*to++ = 0;
	UART_BAUDDIV = 16;
	UART_CTRL = 1;
	TIMER_RELOAD = 0xffffffff;
	TIMER_VALUE = 0xffffffff;
	TIMER_CTRL = 1;
	board_exit(main());
}

__attribute__((section(".vectors"), used)) static const struct {
	uint32_t *stack;
	void (*handlers[6])(void);
} vectors = {&stack_top, {reset, fault, fault, fault, fault, fault}};
