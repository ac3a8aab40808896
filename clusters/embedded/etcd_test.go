// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// What etcd says last while it opens its files decides whether its supervisor tries again.
func TestAFullDiskIsNotTakenForADamagedOne(t *testing.T) {
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.ErrorLevel),
		zap.WithFatalHook(lastWords{new(atomic.Bool)}), zap.WithPanicHook(lastWords{new(atomic.Bool)}))
	full := &fs.PathError{Op: "write", Path: "wal", Err: syscall.ENOSPC}
	for sentence, test := range map[string]struct {
		log     func()
		damaged bool
	}{
		"a log file that finds no room":      {func() { logger.Fatal("failed to read WAL, cannot be repaired", zap.Error(full)) }, false},
		"a log file of which a part is lost": {func() { logger.Fatal("failed to read WAL, cannot be repaired", zap.Error(io.ErrUnexpectedEOF)) }, true},
		"something without an error":         {func() { logger.Panic("snapshot is behind") }, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			err := said(test.log)
			if errors.Is(err, ErrDataDir) != test.damaged || errors.Is(err, syscall.ENOSPC) == test.damaged {
				t.Errorf("%v: damaged %t, want %t", err, errors.Is(err, ErrDataDir), test.damaged)
			}
			if !strings.Contains(err.Error(), ": ") {
				t.Errorf("%v says no cause", err)
			}
		})
	}
}

// said is what openEtcd would make of a panic.
func said(log func()) (err error) {
	defer func() { err = unreadable("/data/etcd", recover()) }()
	log()
	return nil
}
