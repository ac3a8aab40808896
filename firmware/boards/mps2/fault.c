// SPDX-License-Identifier: Apache-2.0
//
// Faults, watchdog, resets, and the record that survives them. A fault of sandboxed code
// ends that code only; any other one writes the record and resets the board.
#include <string.h>

#include "board.h"
#include "cortex.h"
#include "layout.h"
#include "mps2.h"
#include "port.h"

enum { W_LOAD = 0x0, W_CTRL = 0x8, W_INTCLEAR = 0xC, W_LOCK = 0xC00 };
#define WDOG(r) REG(BOARD_WATCHDOG + (r))
#define WDOG_UNLOCK 0x1ACCE551u
#define WDOG_INT_RESET 3u

#define MAGIC 0x57424352u
#define STACK_FILL 0xA5A5A5A5u
#define FPCCR REG(0xE000EF34)
#define EXC_THREAD_MSP 0xFFFFFFF9u
#define EXC_RETURN_THREAD 0x8u
#define IPSR_NMI 2u

extern uint32_t stack_bottom[], stack_top[];

struct record {
	uint32_t magic;
	struct port_crash crash;
	uint32_t check;
};

__attribute__((section(".noinit"))) static struct record record;
__attribute__((section(".noinit"))) static uint32_t crash_tag;
static struct port_crash last;
static bool have_last;
struct port_crash sandbox_fault;
__attribute__((used)) static uint64_t fault_stack[64];

static uint32_t checksum(const struct port_crash *c)
{
	const uint8_t *p = (const uint8_t *)c;
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < sizeof *c; i++) {
		h = (h ^ p[i]) * 16777619u;
	}
	return h;
}

void fault_start(void)
{
	if (record.magic == MAGIC && record.check == checksum(&record.crash)) {
		last = record.crash;
		have_last = last.cause != PORT_RESET_REQUEST;
	}
	record.magic = 0;
	crash_tag = 0;
	SCB_SHCSR |= SHCSR_MEM_BUS_USAGE;
}

const struct port_crash *port_last_crash(void)
{
	return have_last ? &last : NULL;
}

const struct port_crash *port_sandbox_fault(void)
{
	return &sandbox_fault;
}

void port_crash_tag(uint32_t tag)
{
	crash_tag = tag;
}

static _Noreturn void reset_now(void)
{
	record.crash.uptime_ms = (uint32_t)(port_now_us() / 1000);
	record.crash.tag = crash_tag;
	record.check = checksum(&record.crash);
	record.magic = MAGIC;
	barrier();
	SCB_AIRCR = AIRCR_SYSRESETREQ;
	for (;;) {
	}
}

_Noreturn void port_reset(void)
{
	irq_off();
	memset(&record.crash, 0, sizeof record.crash);
	record.crash.cause = PORT_RESET_REQUEST;
	reset_now();
}

_Noreturn void port_panic(const char *why)
{
	irq_off();
	memset(&record.crash, 0, sizeof record.crash);
	record.crash.cause = PORT_RESET_ASSERT;
	record.crash.lr = (uint32_t)(uintptr_t)__builtin_return_address(0);
	record.crash.pc = record.crash.lr;
	strncpy(record.crash.text, why, sizeof record.crash.text - 1);
	console_panic("\r\npanic: ");
	console_panic(why);
	console_panic("\r\n");
	reset_now();
}

static void panic_hex(const char *what, uint32_t value)
{
	char text[9] = {0};
	for (int i = 0; i < 8; i++) {
		text[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15u];
	}
	console_panic(what);
	console_panic(text);
}

static void describe(struct port_crash *c, const uint32_t *frame)
{
	uint32_t sp = (uint32_t)(uintptr_t)frame;
	memset(c, 0, sizeof *c);
	c->cause = PORT_RESET_FAULT;
	c->fault_status = SCB_CFSR;
	c->sp = sp;
	if ((c->fault_status & CFSR_MMARVALID) != 0) {
		c->fault_address = SCB_MMFAR;
	} else if ((c->fault_status & CFSR_BFARVALID) != 0) {
		c->fault_address = SCB_BFAR;
	}
	if (sp >= (uint32_t)(uintptr_t)stack_bottom && sp + 32 <= (uint32_t)(uintptr_t)stack_top) {
		c->lr = frame[5];
		c->pc = frame[6];
		c->psr = frame[7];
		strcpy(c->text, "fault");
	} else {
		strcpy(c->text, "stack overflow");
	}
	SCB_CFSR = UINT32_MAX;
	SCB_HFSR = UINT32_MAX;
}

// Runs on a stack of its own. Returns the stack pointer to go on with: the frame that it
// leaves there sends the core to sandbox_abort.
__attribute__((used)) uint32_t *fault_handler(uint32_t *frame, uint32_t exc_return, uint32_t *back)
{
	uint32_t ipsr;
	__asm__ volatile("mrs %0, ipsr" : "=r"(ipsr));
	bool nmi = (ipsr & 0x1FFu) == IPSR_NMI;
	if (!nmi && sandbox_active() && (exc_return & EXC_RETURN_THREAD) != 0) {
		describe(&sandbox_fault, frame);
#ifdef __ARM_FP
		FPCCR &= ~1u; // nothing is left to be saved lazily
#endif
		uint32_t *fresh = back - 8;
		memset(fresh, 0, 32);
		fresh[6] = (uint32_t)(uintptr_t)sandbox_abort & ~1u;
		fresh[7] = 1u << 24;
		return fresh;
	}
	describe(&record.crash, frame);
	if (nmi) {
		record.crash.cause = PORT_RESET_WATCHDOG;
		strcpy(record.crash.text, "watchdog");
	}
	console_panic("\r\nfirmware stopped: ");
	console_panic(record.crash.text);
	panic_hex(" pc ", record.crash.pc);
	panic_hex(" lr ", record.crash.lr);
	panic_hex(" status ", record.crash.fault_status);
	panic_hex(" address ", record.crash.fault_address);
	console_panic("\r\n");
	reset_now();
}

extern uint32_t *sandbox_saved_sp;

__attribute__((naked)) void fault_entry(void)
{
	__asm__ volatile("mrs r0, msp\n\t"
	                 "mov r1, lr\n\t"
	                 "ldr r2, =sandbox_saved_sp\n\t"
	                 "ldr r2, [r2]\n\t"
	                 "ldr r3, =fault_stack + 512\n\t"
	                 "msr msp, r3\n\t"
	                 "bl fault_handler\n\t"
	                 "msr msp, r0\n\t"
	                 "mrs r1, control\n\t"
	                 "bic r1, r1, #1\n\t" // privileged again
	                 "msr control, r1\n\t"
	                 "isb\n\t"
	                 "mvn r0, #6\n\t" // EXC_RETURN: thread mode, main stack, no FP frame
	                 "bx r0\n\t"
	                 ".ltorg");
}

void watchdog_start(void)
{
	WDOG(W_LOCK) = WDOG_UNLOCK;
	WDOG(W_LOAD) = (uint32_t)((uint64_t)BOARD_CLOCK_HZ * PORT_WATCHDOG_MS / 1000);
	WDOG(W_CTRL) = WDOG_INT_RESET;
	WDOG(W_LOCK) = 0;
}

void port_watchdog_feed(void)
{
	WDOG(W_LOCK) = WDOG_UNLOCK;
	WDOG(W_INTCLEAR) = 1; // loads the counter again
	WDOG(W_LOCK) = 0;
}

void fault_stack_paint(void)
{
	uint32_t *end = (uint32_t *)__builtin_frame_address(0) - 16;
	for (uint32_t *p = stack_bottom; p < end; p++) {
		*(volatile uint32_t *)p = STACK_FILL;
	}
}

uint32_t port_stack_size(void)
{
	return LAYOUT_STACK_SIZE;
}

uint32_t port_stack_high_water(void)
{
	const uint32_t *p = stack_bottom;
	while (p < stack_top && *p == STACK_FILL) {
		p++;
	}
	return (uint32_t)((uintptr_t)stack_top - (uintptr_t)p);
}
