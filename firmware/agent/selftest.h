// SPDX-License-Identifier: Apache-2.0
//
// Shows on the board itself that sandboxed code cannot leave its memory.
#ifndef SELFTEST_H
#define SELFTEST_H

// Does from within the sandbox what an app must not be able to do, each in a block of
// free app memory, and says for each whether it was stopped. Other apps are not touched.
void selftest_walls(void (*say)(const char *));

#endif
