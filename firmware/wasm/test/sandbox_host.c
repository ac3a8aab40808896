// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "runner.h"
#include "sandbox.h"

void runner_print(const char *text, uint32_t length) { fwrite(text, 1, length, stdout); }

int main(void) { return sandbox_run(); }
