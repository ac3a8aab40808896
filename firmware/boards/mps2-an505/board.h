// SPDX-License-Identifier: Apache-2.0
//
// MPS2 with the an505 image (cortex-m33), all in the Secure state: where its memories and devices are. Also read by the linker script
// template, so it holds nothing but macros.
#ifndef BOARD_H
#define BOARD_H

#define BOARD_NAME "mps2-an505"
#define BOARD_CORE "cortex-m33"
#define BOARD_CLOCK_HZ 20000000

#define BOARD_FLASH_BASE 0x10000000
#define BOARD_FLASH_SIZE 0x00080000
#define BOARD_PROVISION_BASE 0x103f0000
#define BOARD_PROVISION_SIZE 0x00001000
#define BOARD_RAM_BASE 0x38000000
#define BOARD_RAM_SIZE 0x00080000
#define BOARD_NV_BASE 0x80000000
#define BOARD_NV_SIZE 0x00100000
#define BOARD_MAILBOX_SIZE 0x00004000

#define BOARD_UART 0x50200000
#define BOARD_TIMER0 0x50000000
#define BOARD_TIMER1 0x50001000
#define BOARD_WATCHDOG 0x50081000
#define BOARD_FPGAIO 0x50302000
#define BOARD_SCC 0x50300000
#define BOARD_ETH 0x42000000
#define BOARD_I2C 0x5020d000

#define BOARD_IRQ_UART_RX 32
#define BOARD_IRQ_TIMER0 3
#define BOARD_IRQ_TIMER1 4
#define BOARD_IRQ_ETH 48

#endif
