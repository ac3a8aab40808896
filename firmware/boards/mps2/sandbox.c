// SPDX-License-Identifier: Apache-2.0
//
// The second wall around apps: while an app runs, the core is unprivileged and the MPU
// gives it program memory and non-volatile memory to read, and its blocks of the arena
// and the stack to write. Nothing else: neither the agent's data nor a device register.
// Handlers and host functions are privileged and see the whole map.
#include <stddef.h>

#include "board.h"
#include "cortex.h"
#include "layout.h"
#include "mps2.h"
#include "port.h"

#define BLOCK_SIZE (LAYOUT_ARENA_SIZE / LAYOUT_ARENA_BLOCKS)

extern uint8_t arena_start[];
extern uint32_t stack_bottom[];

uint32_t *sandbox_saved_sp;
static bool active;

static const struct port_arena arena = {arena_start, BLOCK_SIZE, LAYOUT_ARENA_BLOCKS};

const struct port_arena *port_arena(void)
{
	return &arena;
}

bool sandbox_active(void)
{
	return active;
}

#if __ARM_ARCH >= 8

enum { AP_RW = 1u << 1, AP_RO = 3u << 1, XN = 1u };

static void region(uint32_t number, uint32_t base, uint32_t size, uint32_t attributes)
{
	MPU_RNR = number;
	MPU_RLAR = 0;
	MPU_RBAR = base | attributes;
	MPU_RLAR = ((base + size - 1) & ~31u) | 1u;
}

static void open_fixed(void)
{
	MPU_MAIR0 = 0xFF; // attribute 0: normal memory, write-back
	region(0, BOARD_FLASH_BASE, BOARD_FLASH_SIZE, AP_RO);
	region(1, BOARD_NV_BASE, BOARD_NV_SIZE, AP_RO | XN);
	region(2, (uint32_t)(uintptr_t)stack_bottom, LAYOUT_STACK_SIZE, AP_RW | XN);
}

static void open_arena(uint32_t first, uint32_t count)
{
	region(3, (uint32_t)(uintptr_t)arena_start + first * BLOCK_SIZE, count * BLOCK_SIZE, AP_RW | XN);
}

#else

enum { AP_RW = 3u << 24, AP_RO = 6u << 24, XN = 1u << 28, NORMAL = 0xBu << 16 };
#define QUARTER (LAYOUT_ARENA_SIZE / 4)

// size is a power of two and base a multiple of it.
static void region(uint32_t number, uint32_t base, uint32_t size, uint32_t attributes)
{
	MPU_RNR = number;
	MPU_RBAR = base;
	MPU_RASR = attributes | NORMAL | (30u - (uint32_t)__builtin_clz(size)) << 1 | 1u;
}

static void open_fixed(void)
{
	region(0, BOARD_FLASH_BASE, BOARD_FLASH_SIZE, AP_RO);
	region(1, BOARD_NV_BASE, BOARD_NV_SIZE, AP_RO | XN);
	region(2, (uint32_t)(uintptr_t)stack_bottom, LAYOUT_STACK_SIZE, AP_RW | XN);
}

static void open_arena(uint32_t first, uint32_t count)
{
	uint64_t mask = (((uint64_t)1 << count) - 1) << first;
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t shut = ~(uint32_t)(mask >> (8 * i)) & 0xFFu;
		uint32_t base = (uint32_t)(uintptr_t)arena_start + i * QUARTER;
		if (shut == 0xFFu) {
			MPU_RNR = 3 + i;
			MPU_RASR = 0;
		} else {
			region(3 + i, base, QUARTER, AP_RW | XN | shut << 8);
		}
	}
}

#endif

// Non-volatile memory is read-only to everyone while the MPU is on: Armv8-M knows no
// region that only the privileged may write.
void sandbox_suspend(void)
{
	MPU_CTRL = 0;
	barrier();
}

void sandbox_resume(void)
{
	barrier();
	MPU_CTRL = MPU_ENABLE | MPU_PRIVDEFENA;
	barrier();
}

void sandbox_start(void)
{
	open_fixed();
	sandbox_resume();
}

// Calls fn(arg) unprivileged; 0 when it returned, 1 when a fault ended it.
__attribute__((naked, noinline)) static int call_unprivileged(void (*fn)(void *) __attribute__((unused)),
                                                             void *arg __attribute__((unused)))
{
	__asm__ volatile("push {r3-r11, lr}\n\t"
#ifdef __ARM_FP
	                 "vpush {s16-s31}\n\t"
#endif
	                 "ldr r2, =sandbox_saved_sp\n\t"
	                 "str sp, [r2]\n\t"
	                 "mov r4, r0\n\t"
	                 "mov r0, r1\n\t"
	                 "mrs r2, control\n\t"
	                 "orr r2, r2, #1\n\t"
	                 "msr control, r2\n\t"
	                 "isb\n\t"
	                 "blx r4\n\t"
	                 "svc #0\n\t"
	                 "movs r0, #0\n\t"
	                 "b 1f\n\t"
	                 ".global sandbox_abort\n\t"
	                 ".thumb_func\n"
	                 "sandbox_abort:\n\t"
	                 "movs r0, #1\n"
	                 "1:\n\t"
#ifdef __ARM_FP
	                 "vpop {s16-s31}\n\t"
#endif
	                 "pop {r3-r11, pc}\n\t"
	                 ".ltorg");
}

int port_sandbox_run(void (*fn)(void *), void *arg, const void *memory, uint32_t len)
{
	uint32_t offset = (uint32_t)((uintptr_t)memory - (uintptr_t)arena_start);
	if (offset >= LAYOUT_ARENA_SIZE || offset % BLOCK_SIZE != 0 || len == 0 ||
	    len > LAYOUT_ARENA_SIZE - offset) {
		return PORT_EINVAL;
	}
	open_arena(offset / BLOCK_SIZE, (len + BLOCK_SIZE - 1) / BLOCK_SIZE);
	barrier();
	active = true;
	int faulted = call_unprivileged(fn, arg);
	active = false;
	return faulted ? PORT_EFAULT : PORT_OK;
}

// Grants privilege to thread mode; the one service call there is.
__attribute__((naked)) void svc_entry(void)
{
	__asm__ volatile("mrs r0, control\n\t"
	                 "bic r0, r0, #1\n\t"
	                 "msr control, r0\n\t"
	                 "isb\n\t"
	                 "bx lr");
}

void port_sandbox_leave(void)
{
	uint32_t control;
	__asm__ volatile("mrs %0, control" : "=r"(control));
	if ((control & 1u) != 0) {
		__asm__ volatile("svc #0" ::: "r0", "memory");
	}
}

void port_sandbox_enter(void)
{
	if (active) {
		uint32_t control;
		__asm__ volatile("mrs %0, control" : "=r"(control));
		__asm__ volatile("msr control, %0\n\tisb" ::"r"(control | 1u) : "memory");
	}
}
