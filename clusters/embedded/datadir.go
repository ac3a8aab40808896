// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// formatVersion is the layout of the data directory. It grows when an older
// binary could no longer use what a newer one wrote.
const formatVersion = 1

// Names in the data directory.
const (
	lockFile        = "lock"
	formatFile      = "format"
	caCertificate   = "ca.crt"
	caKey           = "ca.key"
	servingCert     = "serving.crt"
	servingKey      = "serving.key"
	tokenKey        = "service-account.key"
	tokenPublicKey  = "service-account.pub"
	adminKubeconfig = "admin.kubeconfig"
	auditLog        = "audit.log"
	etcdDir         = "etcd"
	runDir          = "run"
)

// maxSocketPath is the longest path that fits a socket address (108 bytes with
// the terminating zero on Linux, 104 elsewhere), less the longest socket name.
const maxSocketPath = 103 - len("/client.sock")

// dataDir is a locked directory with all of a cluster's state.
type dataDir struct {
	root string
	// runtime holds the sockets: root/run, or a short path when that is too long.
	runtime string
	lock    *os.File
}

// openDataDir creates the directory when it is missing, locks it and checks its
// format. Nothing but the lock file is touched before the lock is held.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	d := &dataDir{root: root}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) path(name string) string { return filepath.Join(d.root, name) }

// acquire takes the lock without waiting. The kernel drops it with the process.
func (d *dataDir) acquire() error {
	file, err := os.OpenFile(d.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open lock of data directory: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		owner := make([]byte, 16)
		n, _ := file.Read(owner)
		file.Close()
		return fmt.Errorf("%w: wasmbed-cluster (process %s) runs on %s already", ErrLocked, strings.TrimSpace(string(owner[:n])), d.root)
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("lock data directory: %w", err)
	}
	d.lock = file
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("write lock of data directory: %w", err)
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write lock of data directory: %w", err)
	}
	return nil
}

func (d *dataDir) close() {
	if d.runtime != "" && d.runtime != d.path(runDir) {
		os.RemoveAll(d.runtime)
	}
	d.lock.Close()
}

func (d *dataDir) prepare() error {
	if err := os.Chmod(d.root, 0o700); err != nil {
		return fmt.Errorf("protect data directory: %w", err)
	}
	if err := d.checkFormat(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.path(runDir), 0o700); err != nil {
		return fmt.Errorf("create runtime directory: %w", err)
	}
	return d.chooseRuntime()
}

// checkFormat refuses what this binary cannot read. A directory gets its format
// before anything else, so data without a format is not ours or is damaged.
func (d *dataDir) checkFormat() error {
	text, err := os.ReadFile(d.path(formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		if d.exists(etcdDir) || d.exists(caKey) {
			return fmt.Errorf("%w: %s holds data but no file %q that says its version", ErrDataDir, d.root, formatFile)
		}
		return writeFile(d.path(formatFile), []byte(strconv.Itoa(formatVersion)+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("read format of data directory: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || version < 1 {
		return fmt.Errorf("%w: %s does not hold a version", ErrDataDir, d.path(formatFile))
	}
	if version > formatVersion {
		return fmt.Errorf("%w: %s was written by a newer wasmbed-cluster (format %d, this one knows %d): use that one",
			ErrDataDir, d.root, version, formatVersion)
	}
	return nil
}

func (d *dataDir) exists(name string) bool {
	_, err := os.Lstat(d.path(name))
	return err == nil
}

// chooseRuntime finds a directory whose sockets fit an address: root/run, or
// else a directory of this user under $XDG_RUNTIME_DIR or the temporary folder
// whose name follows from root. The lock on root covers it too.
func (d *dataDir) chooseRuntime() error {
	if len(d.path(runDir)) <= maxSocketPath {
		d.runtime = d.path(runDir)
		return nil
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	sum := sha256.Sum256([]byte(d.root))
	short := filepath.Join(base, fmt.Sprintf("wasmbed-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6])))
	if len(short) > maxSocketPath {
		return fmt.Errorf("%w: the paths of %s and of %s are too long for sockets: choose a shorter --data-dir", ErrUsage, d.root, base)
	}
	if err := os.Mkdir(short, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create runtime directory: %w", err)
	}
	// The folder may be shared: take nothing that somebody else has prepared.
	info, err := os.Lstat(short)
	if err != nil {
		return fmt.Errorf("check runtime directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(owner.Uid) != os.Getuid() {
		return fmt.Errorf("runtime directory %s is not a private directory of this user: remove it", short)
	}
	d.runtime = short
	return nil
}

// writeFile replaces a file as a whole: after a crash the old or the new
// content is there.
func writeFile(path string, content []byte, mode os.FileMode) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
