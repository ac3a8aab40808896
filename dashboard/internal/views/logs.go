// SPDX-License-Identifier: Apache-2.0

package views

import "time"

// LogLine is one line of a device's log.
type LogLine struct {
	Time    time.Time `json:"time"`
	Device  string    `json:"device"`
	App     string    `json:"app,omitempty"`
	Level   string    `json:"level"`
	Text    string    `json:"text"`
	Uptime  uint64    `json:"uptime,omitempty"`
	Dropped uint32    `json:"dropped,omitempty"`
}

// Logs are lines that gateways keep.
type Logs struct {
	Lines []LogLine `json:"lines"`
	// Errors say which gateway could not be asked.
	Errors []string `json:"errors,omitempty"`
}
