// SPDX-License-Identifier: Apache-2.0

// Package measure is what the programs that measure share: processor time and memory of processes, and what was asked
// of the API server.
package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks of processor time a second, on every Linux of today.
const ticks = 100

// CPU is the processor time that a process has used, without its children; 0 when it is gone.
func CPU(pid int) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, tail, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(tail)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticks
}

// Resident is the memory of a process in bytes, and Peak the most that it ever was.
func Resident(pid int) int64 { return kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss:") }

// Peak is the most memory that a process ever had.
func Peak(pid int) int64 { return kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM:") }

// kilobytes reads a line such as "Rss:  12 kB", in bytes.
func kilobytes(path, key string) int64 {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// Children are the processes whose parent is pid, by the name of their command.
func Children(pid int) (map[string]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[string]int{}
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		content, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		head, tail, _ := strings.Cut(string(content), ") ")
		_, command, _ := strings.Cut(head, "(")
		if fields := strings.Fields(tail); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children[command] = child
		}
	}
	return children, nil
}
