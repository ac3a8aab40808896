// SPDX-License-Identifier: Apache-2.0
//
// MPS2 with the an500 image (cortex-m7): where its memories and devices are. Also read by the linker script
// template, so it holds nothing but macros.
#ifndef BOARD_H
#define BOARD_H

#define BOARD_NAME "mps2-an500"
#define BOARD_CORE "cortex-m7"
#define BOARD_CLOCK_HZ 25000000

#define BOARD_FLASH_BASE 0x00000000
#define BOARD_FLASH_SIZE 0x00080000
#define BOARD_PROVISION_BASE 0x003f0000
#define BOARD_PROVISION_SIZE 0x00001000
#define BOARD_RAM_BASE 0x20000000
#define BOARD_RAM_SIZE 0x00080000
#define BOARD_NV_BASE 0x60000000
#define BOARD_NV_SIZE 0x00100000
#define BOARD_MAILBOX_SIZE 0x00004000

#define BOARD_UART 0x40004000
#define BOARD_TIMER0 0x40000000
#define BOARD_TIMER1 0x40001000
#define BOARD_WATCHDOG 0x40008000
#define BOARD_FPGAIO 0x40028000
#define BOARD_SCC 0x4002f000
#define BOARD_ETH 0xA0000000
#define BOARD_I2C 0x4002a000

#define BOARD_IRQ_UART_RX 0
#define BOARD_IRQ_TIMER0 8
#define BOARD_IRQ_TIMER1 9
#define BOARD_IRQ_ETH 13

#endif
