// SPDX-License-Identifier: Apache-2.0
//
// The few registers of the Armv7-M and Armv8-M system control space that are used.
#ifndef CORTEX_H
#define CORTEX_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define SCB_ICSR REG(0xE000ED04)
#define SCB_VTOR REG(0xE000ED08)
#define SCB_AIRCR REG(0xE000ED0C)
#define SCB_SHCSR REG(0xE000ED24)
#define SCB_CFSR REG(0xE000ED28)
#define SCB_HFSR REG(0xE000ED2C)
#define SCB_MMFAR REG(0xE000ED34)
#define SCB_BFAR REG(0xE000ED38)
#define SCB_CPACR REG(0xE000ED88)

#define AIRCR_SYSRESETREQ 0x05FA0004u
#define SHCSR_MEM_BUS_USAGE 0x00070000u
#define CFSR_MMARVALID (1u << 7)
#define CFSR_BFARVALID (1u << 15)

#define MPU_CTRL REG(0xE000ED94)
#define MPU_RNR REG(0xE000ED98)
#define MPU_RBAR REG(0xE000ED9C)
#define MPU_RASR REG(0xE000EDA0) // Armv7-M
#define MPU_RLAR REG(0xE000EDA0) // Armv8-M
#define MPU_MAIR0 REG(0xE000EDC0)
#define MPU_ENABLE 1u
#define MPU_PRIVDEFENA 4u

#define NVIC_ISER(irq) REG(0xE000E100 + 4 * ((irq) / 32))
#define NVIC_ICPR(irq) REG(0xE000E280 + 4 * ((irq) / 32))

static inline void irq_enable(unsigned irq)
{
	NVIC_ISER(irq) = 1u << (irq % 32);
}

static inline void irq_off(void)
{
	__asm__ volatile("cpsid i" ::: "memory");
}

static inline void irq_on(void)
{
	__asm__ volatile("cpsie i\n\tisb" ::: "memory");
}

static inline void barrier(void)
{
	__asm__ volatile("dsb\n\tisb" ::: "memory");
}

#endif
