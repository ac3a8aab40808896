// SPDX-License-Identifier: Apache-2.0

package git

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// A clone on a full disk is kept: it holds the commit that is applied. One that is damaged is made anew.
func TestAFullDiskIsNoDamage(t *testing.T) {
	for _, errno := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE} {
		if err := failf(api.ReasonStorageFailed, "writing: %w", &fs.PathError{Op: "write", Path: "pack", Err: errno}); !scarce(err) {
			t.Errorf("%v counts as damage", err)
		}
	}
	for _, damage := range []error{plumbing.ErrObjectNotFound, &fs.PathError{Op: "open", Path: "pack", Err: syscall.EIO}, errors.New("malformed index")} {
		if err := failf(api.ReasonStorageFailed, "reading: %w", damage); scarce(err) {
			t.Errorf("%v counts as a lack of room", err)
		}
	}
}
