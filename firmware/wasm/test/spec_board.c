// SPDX-License-Identifier: Apache-2.0
/* The test runner on a board: QEMU's loader puts the blob into external RAM,
 * behind its length. */
#include "../board/board.h"
#include "runner.h"

void runner_print(const char *text, uint32_t length) { board_write(text, length); }

int main(void)
{
	uint32_t size = *(uint32_t *)(void *)BOARD_PSRAM;
	uint32_t used = (size + 4 + 7) & ~7u;

	return runner_run(BOARD_PSRAM + 4, BOARD_PSRAM + used, BOARD_PSRAM_SIZE - used);
}
