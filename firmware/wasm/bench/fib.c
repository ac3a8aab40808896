// SPDX-License-Identifier: Apache-2.0
/* fib(24), recursively: calls and returns. */
__attribute__((noinline)) static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
__attribute__((visibility("default"))) int run(void) { return fib(24); }
