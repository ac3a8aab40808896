// SPDX-License-Identifier: Apache-2.0
//
// Time and sleep on two CMSDK timers: timer 0 runs freely, timer 1 is armed for one wake-up.
// There is no tick: an idle board wakes for deadlines and interrupts only.
#include "board.h"
#include "cortex.h"
#include "mps2.h"
#include "port.h"

enum { T_CTRL = 0x0, T_VALUE = 0x4, T_RELOAD = 0x8, T_INTCLEAR = 0xC };
enum { T_ENABLE = 1, T_IRQ = 8 };

#define T0(r) REG(BOARD_TIMER0 + (r))
#define T1(r) REG(BOARD_TIMER1 + (r))
#define TICKS_PER_US (BOARD_CLOCK_HZ / 1000000u)

static volatile uint32_t wraps;
static volatile bool woken;
static uint64_t slept_us;

void timer0_irq(void)
{
	T0(T_INTCLEAR) = 1;
	wraps++;
}

void timer1_irq(void)
{
	T1(T_CTRL) = 0;
	T1(T_INTCLEAR) = 1;
	woken = true;
}

void clock_wake(void)
{
	woken = true;
}

void clock_start(void)
{
	T0(T_RELOAD) = UINT32_MAX;
	T0(T_VALUE) = UINT32_MAX;
	T0(T_CTRL) = T_ENABLE | T_IRQ;
	irq_enable(BOARD_IRQ_TIMER0);
	irq_enable(BOARD_IRQ_TIMER1);
}

uint64_t port_now_us(void)
{
	uint32_t primask, high, low;
	__asm__ volatile("mrs %0, primask" : "=r"(primask));
	irq_off();
	high = wraps;
	low = UINT32_MAX - T0(T_VALUE);
	if ((T0(T_INTCLEAR) & 1u) != 0) { // wrapped, and its handler has not run yet
		high++;
		low = UINT32_MAX - T0(T_VALUE);
	}
	if (primask == 0) {
		irq_on();
	}
	return (((uint64_t)high << 32) | low) / TICKS_PER_US;
}

uint64_t port_slept_us(void)
{
	return slept_us;
}

void port_sleep_until(uint64_t us)
{
	const uint64_t longest = (uint64_t)(UINT32_MAX / 2) / TICKS_PER_US;
	irq_off();
	uint64_t now = port_now_us();
	if (!woken && us > now) {
		uint64_t wait = us - now < longest ? us - now : longest;
		T1(T_CTRL) = 0;
		T1(T_INTCLEAR) = 1;
		T1(T_RELOAD) = UINT32_MAX;
		T1(T_VALUE) = (uint32_t)wait * TICKS_PER_US + 1;
		T1(T_CTRL) = T_ENABLE | T_IRQ;
		__asm__ volatile("dsb\n\twfi" ::: "memory");
		slept_us += port_now_us() - now;
	}
	woken = false;
	irq_on();
}
