// SPDX-License-Identifier: Apache-2.0

package supervise

import "syscall"

// childAttributes put the child in a process group of its own, so that Ctrl-C in a terminal reaches only the
// supervisor, and let it end when the supervisor is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
