// SPDX-License-Identifier: Apache-2.0
//
// lwIP's view of the compiler.
#ifndef ARCH_CC_H
#define ARCH_CC_H

#include <stdint.h>

_Noreturn void port_panic(const char *why);
uint32_t net_random(void);

#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_NO_CTYPE_H 0
#define LWIP_PLATFORM_DIAG(x)
#define LWIP_PLATFORM_ASSERT(x) port_panic("network stack: invariant broken")
#define LWIP_RAND() net_random()

#endif
