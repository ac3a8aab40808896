// SPDX-License-Identifier: Apache-2.0
//
// What the files of the MPS2 boards tell one another.
#ifndef MPS2_H
#define MPS2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Interrupt handlers, named in the vector table of startup.c.
void timer0_irq(void);
void timer1_irq(void);
void uart_rx_irq(void);
void eth_irq(void);

// clock.c
void clock_start(void);
void clock_wake(void); // from any handler: the next sleep returns at once

// console.c
void console_start(void);
bool console_pending(void);
void console_drain(void);
void console_panic(const char *text); // waits for the UART; for fault handlers only

// lan9118.c
int eth_start(const uint8_t mac[6]);
int eth_receive(uint8_t *frame, size_t cap);         // bytes, 0 when none, PORT_EIO
int eth_send(const uint8_t *frame, size_t len);      // PORT_OK, PORT_EAGAIN, PORT_EIO
bool eth_link_up(void);
// Around emptying the receiver: what comes in between raises the interrupt again.
void eth_clear(void);
void eth_arm(void);

// net.c
void net_start(void);
uint64_t net_poll(void);

// fault.c
void fault_start(void);
void watchdog_start(void);
void fault_stack_paint(void);
struct port_crash;
extern struct port_crash sandbox_fault;

// sandbox.c
void sandbox_start(void);
void sandbox_suspend(void); // around writes to non-volatile memory
void sandbox_resume(void);
bool sandbox_active(void);
void sandbox_abort(void); // where the fault handler sends the core to

// sensor.c
void sensor_start(void);

#endif
