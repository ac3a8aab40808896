// SPDX-License-Identifier: Apache-2.0
#ifndef SANDBOX_H
#define SANDBOX_H

/* Runs the sandbox tests, printing to runner_print; 0 if all passed. */
int sandbox_run(void);

#endif
