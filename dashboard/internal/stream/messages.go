// SPDX-License-Identifier: Apache-2.0

// Package stream is the websocket: it follows what a viewer subscribes to and sends what changes. PROTOCOL.md, two
// folders above, is its contract.
//
// Nothing queues up for a slow viewer. A subscription knows what it sent last; when the connection can take something,
// and not more than four times a second, it sends the difference to what is now. So a viewer costs what its windows
// hold, however much changes.
package stream

import (
	"encoding/json"

	"wasmbed.dev/dashboard/internal/views"
)

// request is a message from the client.
type request struct {
	Type   string          `json:"type"`
	ID     int64           `json:"id"`
	View   string          `json:"view"`
	Query  json.RawMessage `json:"query"`
	Resume int64           `json:"resume"`
	Line   string          `json:"line"`
}

type hello struct {
	Type     string   `json:"type"`
	Protocol int      `json:"protocol"`
	Version  string   `json:"version"`
	Server   string   `json:"server"`
	Session  string   `json:"session"`
	Time     string   `json:"time"`
	User     string   `json:"user"`
	Spaces   []string `json:"namespaces,omitempty"`
	Synced   bool     `json:"synced"`
	Dropped  string   `json:"dropped,omitempty"`
}

type snapshot struct {
	Type   string `json:"type"`
	ID     int64  `json:"id"`
	Seq    int64  `json:"seq"`
	View   string `json:"view"`
	Total  *int   `json:"total,omitempty"`
	All    *int   `json:"all,omitempty"`
	Offset *int   `json:"offset,omitempty"`
	Rows   any    `json:"rows,omitempty"`
	Value  any    `json:"value,omitempty"`
}

type delta struct {
	Type  string `json:"type"`
	ID    int64  `json:"id"`
	Seq   int64  `json:"seq"`
	Total *int   `json:"total,omitempty"`
	All   *int   `json:"all,omitempty"`
	views.WindowDelta
	Set map[string]any `json:"set,omitempty"`
}

type resumed struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Seq  int64  `json:"seq"`
}

type failure struct {
	Type     string `json:"type"`
	ID       int64  `json:"id,omitempty"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Retrying bool   `json:"retrying,omitempty"`
}

type beat struct {
	Type string `json:"type"`
	Time string `json:"time,omitempty"`
}

// Chunk is what a stream or a command has to say; its fields are those of the messages lines, text and output.
type Chunk struct {
	Lines   []views.LogLine
	Text    string
	Columns []string
	Rows    [][]string
	Lost    int64
	// Retrying is a trouble that the source goes on in spite of.
	Retrying error
}

type lines struct {
	Type  string          `json:"type"`
	ID    int64           `json:"id"`
	Seq   int64           `json:"seq"`
	Lines []views.LogLine `json:"lines"`
	Lost  int64           `json:"lost"`
}

type text struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Seq  int64  `json:"seq"`
	Text string `json:"text"`
	Lost int64  `json:"lost"`
}

type output struct {
	Type    string     `json:"type"`
	ID      int64      `json:"id"`
	Seq     int64      `json:"seq"`
	Columns []string   `json:"columns,omitempty"`
	Rows    [][]string `json:"rows,omitempty"`
	Text    string     `json:"text,omitempty"`
}

type done struct {
	Type string `json:"type"`
	ID   int64  `json:"id"`
	Seq  int64  `json:"seq"`
	OK   bool   `json:"ok"`
}

type completions struct {
	Type  string   `json:"type"`
	ID    int64    `json:"id"`
	From  int      `json:"from"`
	Items []string `json:"items"`
}
