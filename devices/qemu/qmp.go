// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// monitor is a connection to QEMU's machine protocol.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// monitorDeadline bounds every exchange, maxMonitorLine every line of it.
const (
	monitorDeadline = 5 * time.Second
	maxMonitorLine  = 1 << 20
)

func openMonitor(conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, in: bufio.NewReader(io.LimitReader(conn, 1<<40))}
	if err := conn.SetDeadline(time.Now().Add(monitorDeadline)); err != nil {
		return nil, err
	}
	if _, err := m.line(); err != nil { // the greeting
		return nil, fmt.Errorf("monitor's greeting: %w", err)
	}
	if err := m.do("qmp_capabilities", nil, nil); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *monitor) line() ([]byte, error) {
	var line []byte
	for {
		part, more, err := m.in.ReadLine()
		if err != nil {
			return nil, err
		}
		if line = append(line, part...); len(line) > maxMonitorLine {
			return nil, errors.New("the monitor's answer is too long")
		}
		if !more {
			return line, nil
		}
	}
}

// do runs one command and reads its answer into result; events in between are skipped.
func (m *monitor) do(command string, arguments, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := m.conn.SetDeadline(time.Now().Add(monitorDeadline)); err != nil {
		return err
	}
	if _, err := m.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("monitor: %s: %w", command, err)
	}
	for {
		line, err := m.line()
		if err != nil {
			return fmt.Errorf("monitor: %s: %w", command, err)
		}
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		switch err := json.Unmarshal(line, &answer); {
		case err != nil:
			return fmt.Errorf("monitor: %s: %w", command, err)
		case answer.Error != nil:
			return fmt.Errorf("monitor: %s: %s", command, answer.Error.Desc)
		case answer.Return != nil && result != nil:
			return json.Unmarshal(answer.Return, result)
		case answer.Return != nil:
			return nil
		}
	}
}

func (m *monitor) close() { m.conn.Close() }
