// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The mailbox is a part of the board's mapped memory in which a newer blob reaches it while it runs; the layout is in
// firmware/agent/provision.h. It lies in nv.bin, which QEMU shares with its file, behind what the firmware keeps.
const (
	mailboxOffset = 1 << 20
	mailboxSize   = 16 << 10
	mailboxSlots  = 2
	slotSize      = mailboxSize / mailboxSlots
)

// deliver writes a blob into the slot that the board does not read: the number that makes it count comes last.
func deliver(dir string, blob []byte) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, nvFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil || info.Size() != nvSize {
		return fmt.Errorf("%s is not a board's memory: %w", nvFile, errors.Join(err, fs.ErrInvalid))
	}
	var numbers [mailboxSlots]uint32
	for i := range numbers {
		var b [4]byte
		if _, err := f.ReadAt(b[:], mailboxOffset+int64(i)*slotSize); err != nil {
			return err
		}
		numbers[i] = binary.LittleEndian.Uint32(b[:])
	}
	slot, next := 0, max(numbers[0], numbers[1])+1
	if numbers[0] > numbers[1] {
		slot = 1
	}
	at := int64(mailboxOffset + slot*slotSize)
	b := binary.LittleEndian.AppendUint32(nil, next)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(blob)))
	b = append(b, blob...)
	digest := sha256.Sum256(b)
	b = append(b, digest[:]...)
	if len(b) > slotSize {
		return fmt.Errorf("a blob of %d bytes does not fit the mailbox", len(blob))
	}
	if _, err := f.WriteAt(make([]byte, 4), at); err != nil {
		return err
	}
	if _, err := f.WriteAt(b[4:], at+4); err != nil {
		return err
	}
	_, err = f.WriteAt(b[:4], at)
	return err
}

// empty removes what is in the mailbox: a board that is launched gets a newer blob, and one that is off needs no keys.
func empty(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, nvFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() == nvSize { // QEMU takes a file that is too short for a mistake
		_, err = f.WriteAt(make([]byte, mailboxSize), mailboxOffset)
	}
	return errors.Join(err, f.Close())
}
