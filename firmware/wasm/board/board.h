// SPDX-License-Identifier: Apache-2.0
/*
 * The least that tests and benches need of an MPS2 board (AN385: Cortex-M3,
 * AN386: Cortex-M4F) in QEMU: a console, a clock, an end.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Writes to UART0. */
void board_write(const char *text, uint32_t length);
void board_print(const char *text);
void board_print_number(uint32_t value);

/* Time since reset in timer ticks of 25 MHz. With -icount shift=0 one tick is
 * 40 instructions. Wraps after 2^32 ticks. */
uint32_t board_ticks(void);

/* Reports the exit status on the console and resets the board, which ends QEMU
 * when it runs with -no-reboot. */
_Noreturn void board_exit(int status);

/* Marks the unused stack, and tells how many bytes of it were used since. */
void board_mark_stack(void);
uint32_t board_stack_used(void);

/* The external RAM of 16 MiB. */
#define BOARD_PSRAM ((uint8_t *)0x21000000)
#define BOARD_PSRAM_SIZE (16u << 20)

/* Given by the program. */
int main(void);

#endif
