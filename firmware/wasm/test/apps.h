// SPDX-License-Identifier: Apache-2.0
/* The modules in apps/, assembled by the Makefile. */
#ifndef APPS_H
#define APPS_H

#include <stdint.h>

extern const uint8_t misbehave_wasm[], misbehave_wasm_end[];
extern const uint8_t worker_wasm[], worker_wasm_end[];
extern const uint8_t forbidden_wasm[], forbidden_wasm_end[];

#endif
