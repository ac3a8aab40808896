// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package supervise

import "syscall"

// childAttributes put the child in a process group of its own, so that Ctrl-C in a terminal reaches only the
// supervisor.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
