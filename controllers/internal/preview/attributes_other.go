// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package preview

import "syscall"

// attributes put the installation in a process group of its own.
func attributes(keep bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: !keep, Setsid: keep}
}
