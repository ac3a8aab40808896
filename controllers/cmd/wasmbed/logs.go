// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/home"
)

func newLogsCommand() *cobra.Command {
	var follow bool
	var lines int
	command := &cobra.Command{
		Use:   "logs [PART | NAMESPACE/DEVICE]",
		Short: "Show the logs of the installation's processes, or of a device",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 1 && strings.Contains(args[0], "/") {
				return deviceLogs(command, args[0], follow)
			}
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			if err := dir.Check(); err != nil {
				return err
			}
			parts, err := loggedParts(dir)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if !slices.Contains(parts, args[0]) {
					return fmt.Errorf("no log of %q; there are: %s; a device is named NAMESPACE/DEVICE", args[0], strings.Join(parts, " "))
				}
				parts = args
			}
			return showLogs(command.Context(), dir, parts, lines, follow, command.OutOrStdout())
		},
	}
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	command.Flags().IntVarP(&lines, "lines", "n", 50, "how many lines of the past")
	return command
}

func loggedParts(dir home.Dir) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir.LogDir(), "*.log"))
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var parts []string
	for _, file := range files {
		parts = append(parts, strings.TrimSuffix(filepath.Base(file), ".log"))
	}
	return parts, nil
}

// showLogs writes the last lines of each part's log and, when it follows, what comes after them.
func showLogs(ctx context.Context, dir home.Dir, parts []string, lines int, follow bool, out io.Writer) error {
	tails := make([]*tail, len(parts))
	for i, part := range parts {
		prefix := ""
		if len(parts) > 1 {
			prefix = part + " | "
		}
		tails[i] = &tail{path: dir.Log(part), prefix: prefix}
		defer tails[i].close()
		if err := tails[i].last(lines, out); err != nil {
			return err
		}
	}
	for follow {
		for _, t := range tails {
			if err := t.more(out); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// tail follows one log file over its rotation.
type tail struct {
	path, prefix string
	file         *os.File
	reader       *bufio.Reader
	part         string // a line that has no end yet
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

func (t *tail) open() error {
	file, err := os.Open(t.path)
	if err != nil {
		return err
	}
	t.close()
	t.file, t.reader = file, bufio.NewReader(file)
	return nil
}

// last writes the last lines of the file; a log line is taken to have at most 512 bytes on average.
func (t *tail) last(lines int, out io.Writer) error {
	if err := t.open(); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if info, err := t.file.Stat(); err == nil && info.Size() > int64(lines)*512 {
		if _, err := t.file.Seek(-int64(lines)*512, io.SeekEnd); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if _, err := t.reader.ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read log: %w", err)
		}
	}
	var kept []string
	for {
		line, err := t.reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			t.part = line
			break
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		kept = append(kept, line)
	}
	for _, line := range kept[max(0, len(kept)-lines):] {
		if _, err := io.WriteString(out, t.prefix+line); err != nil {
			return err
		}
	}
	return nil
}

// more writes what has come since.
func (t *tail) more(out io.Writer) error {
	for {
		line, err := t.reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			t.part += line
			return t.reopenWhenRotated()
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if _, err := io.WriteString(out, t.prefix+t.part+line); err != nil {
			return err
		}
		t.part = ""
	}
}

func (t *tail) reopenWhenRotated() error {
	now, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if open, err := t.file.Stat(); err == nil && os.SameFile(open, now) {
		return nil
	}
	t.part = ""
	return t.open()
}
