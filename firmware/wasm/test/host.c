// SPDX-License-Identifier: Apache-2.0
/* The test runner on the host: spectest-host BLOB. */
#include <stdio.h>
#include <stdlib.h>

#include "runner.h"

void runner_print(const char *text, uint32_t length)
{
	fwrite(text, 1, length, stdout);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	enum { MEMORY = 256 << 20 };
	FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
	uint8_t *blob, *memory = malloc(MEMORY);
	long size;
	int result;

	if (!f || !memory || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0)
		return 2;
	rewind(f);
	blob = malloc((size_t)size);
	if (!blob || fread(blob, 1, (size_t)size, f) != (size_t)size)
		return 2;
	fclose(f);
	result = runner_run(blob, memory, MEMORY);
	free(blob);
	free(memory);
	return result;
}
