// SPDX-License-Identifier: Apache-2.0

package preview

import "syscall"

// attributes put the installation in a process group of its own, so that Ctrl-C reaches only this process, and let it
// end with this process unless it is kept.
func attributes(keep bool) *syscall.SysProcAttr {
	if keep {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
