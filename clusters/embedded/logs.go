// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"flag"
	"io"
	"os"
	"sync"

	"k8s.io/klog/v2"
)

// maxHeldLogs bounds what is kept of a start's messages, in bytes.
const maxHeldLogs = 64 << 10

// partLogs is where warnings and errors of the upstream parts go. Every start
// and stop makes some that mean nothing (listeners that close, namespaces that
// do not exist yet): those of a start are held and shown only if it fails,
// those of a stop are dropped.
type partLogs struct {
	mu   sync.Mutex
	held []byte
	out  io.Writer // nil while messages are held
}

// newPartLogs takes over what Kubernetes packages log; information is dropped.
func newPartLogs() *partLogs {
	logs := &partLogs{}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{
		"logtostderr":     "false",
		"alsologtostderr": "false",
		"stderrthreshold": "FATAL",
		"one_output":      "true",
	} {
		if err := flags.Set(name, value); err != nil {
			panic("internal error: klog flag " + name + ": " + err.Error())
		}
	}
	klog.SetOutputBySeverity("INFO", io.Discard)
	klog.SetOutputBySeverity("WARNING", logs)
	klog.SetOutputBySeverity("ERROR", logs)
	return logs
}

// Write implements io.Writer for klog, and Sync zap's WriteSyncer for etcd.
func (l *partLogs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return l.out.Write(line)
	}
	if room := maxHeldLogs - len(l.held); room > 0 {
		l.held = append(l.held, line[:min(room, len(line))]...)
	}
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer.
func (l *partLogs) Sync() error { return nil }

// show passes messages to stderr from now on, and those held too if asked.
func (l *partLogs) show(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held {
		os.Stderr.Write(l.held)
	}
	l.held, l.out = nil, os.Stderr
}

// drop passes nothing on from now on.
func (l *partLogs) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = io.Discard
}
