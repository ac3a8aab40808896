// SPDX-License-Identifier: Apache-2.0
#include "../board/board.h"
#include "runner.h"
#include "sandbox.h"

void runner_print(const char *text, uint32_t length) { board_write(text, length); }

int main(void) { return sandbox_run(); }
