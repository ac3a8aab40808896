// SPDX-License-Identifier: Apache-2.0
//
// Vector table and the way from reset to main.
#include "board.h"
#include "cortex.h"
#include "mps2.h"

extern uint32_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

int main(void);
void fault_entry(void);
void svc_entry(void);
_Noreturn void reset_handler(void);

#define IRQ_COUNT 64

// An entry that is NULL is never used: taking it is a fault, and reported as one.
struct vectors {
	uint32_t *stack;
	void (*system[15])(void);
	void (*irq[IRQ_COUNT])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
	.stack = stack_top,
	.system = {
		(void (*)(void))reset_handler,
		fault_entry, // NMI: the watchdog's first expiry
		fault_entry, // HardFault
		fault_entry, // MemManage
		fault_entry, // BusFault
		fault_entry, // UsageFault
		fault_entry, // SecureFault on Armv8-M
		NULL, NULL, NULL,
		svc_entry,
	},
	.irq = {
		[BOARD_IRQ_UART_RX] = uart_rx_irq,
		[BOARD_IRQ_TIMER0] = timer0_irq,
		[BOARD_IRQ_TIMER1] = timer1_irq,
		[BOARD_IRQ_ETH] = eth_irq,
	},
};

_Noreturn void reset_handler(void)
{
	SCB_VTOR = (uint32_t)(uintptr_t)&vectors;
#ifdef __ARM_FP
	SCB_CPACR |= 0xFu << 20; // full access to the FPU
	barrier();
#endif
	fault_stack_paint();
	for (uint32_t *to = data_start, *from = data_load; to < data_end;) {
		*to++ = *from++;
	}
	for (uint32_t *p = bss_start; p < bss_end;) {
		*p++ = 0;
	}
	main();
	for (;;) {
	}
}
