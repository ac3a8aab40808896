// SPDX-License-Identifier: Apache-2.0
#ifndef RUNNER_H
#define RUNNER_H

#include <stdint.h>

/* Runs a blob with this much memory, aligned to 8 bytes; 0 if all passed. */
int runner_run(const uint8_t *blob, void *memory, uint32_t size);

/* Given by the platform. */
void runner_print(const char *text, uint32_t length);

#endif
