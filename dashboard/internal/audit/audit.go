// SPDX-License-Identifier: Apache-2.0

// Package audit reads who changed what from the API server's audit log, where that is a file on this machine.
package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/fleet"
)

const (
	// past is how many bytes of the log are read at the start.
	past = 4 << 20
	// maxLine is the longest line that is looked at; a longer one is left out.
	maxLine   = 64 << 10
	lookEvery = time.Second
)

// kinds by resource.
var kinds = map[string]string{
	"devices": "Device", "gateways": "Gateway", "applications": "Application", "instances": "Instance", "repositories": "Repository", "namespaces": "Namespace",
}

// entry is what is read of an audit event; everything else in it is skipped.
type entry struct {
	AuditID string `json:"auditID"`
	Stage   string `json:"stage"`
	Verb    string `json:"verb"`
	User    struct {
		Username string `json:"username"`
	} `json:"user"`
	Impersonated *struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	Object struct {
		Resource    string `json:"resource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Response struct {
		Code int32 `json:"code"`
	} `json:"responseStatus"`
	At time.Time `json:"stageTimestamp"`
}

// Follow passes what the log says to the store until ctx ends, over rotations of the file.
func Follow(ctx context.Context, path string, store *fleet.Store) {
	t := &tail{path: path}
	defer t.close()
	for {
		for rows := t.more(); len(rows) > 0; rows = t.more() {
			store.Happened(rows...)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// tail reads one file.
type tail struct {
	path   string
	file   *os.File
	reader *bufio.Reader
	part   []byte // a line that has no end yet
	skip   bool   // the line is too long, or began before the part that is read
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

// open opens the file; of the first one only the end is read.
func (t *tail) open(first bool) error {
	file, err := os.Open(t.path)
	if err != nil {
		return err
	}
	t.close()
	t.file, t.reader, t.part, t.skip = file, bufio.NewReaderSize(file, 64<<10), nil, false
	if info, err := file.Stat(); err == nil && first && info.Size() > past {
		if _, err := file.Seek(-past, io.SeekEnd); err != nil {
			return err
		}
		t.skip = true
	}
	return nil
}

// more reads up to a few hundred events; none when there is nothing new.
func (t *tail) more() (rows []*fleet.Event) {
	if t.file == nil && t.open(t.reader == nil) != nil {
		return nil
	}
	const most = 500
	for len(rows) < most {
		piece, err := t.reader.ReadSlice('\n')
		if !t.skip {
			t.part = append(t.part, piece...)
		}
		if len(t.part) > maxLine {
			t.skip, t.part = true, nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			if len(rows) == 0 && t.rotated() {
				t.close()
			}
			return rows
		}
		if row := rowOf(t.part); row != nil && !t.skip {
			rows = append(rows, row)
		}
		t.part, t.skip = t.part[:0], false
	}
	return rows
}

func (t *tail) rotated() bool {
	now, err := os.Stat(t.path)
	if err != nil {
		return false
	}
	open, err := t.file.Stat()
	return err == nil && !os.SameFile(open, now)
}

// rowOf makes a row of a line; nil when the line tells nothing that a person asks for.
func rowOf(line []byte) *fleet.Event {
	var e entry
	if len(bytes.TrimSpace(line)) == 0 || json.Unmarshal(line, &e) != nil || e.Stage != "ResponseComplete" || e.AuditID == "" || e.Object.Subresource == "status" {
		return nil
	}
	if e.Object.Resource == "instances" && e.User.Username == v1alpha1.UserControllers {
		return nil // an Instance tells its commit
	}
	kind := kinds[e.Object.Resource]
	if kind == "" {
		kind = e.Object.Resource
	}
	who := e.User.Username
	if e.Impersonated != nil {
		who = e.Impersonated.Username + " (by " + who + ")"
	}
	object := strings.TrimPrefix(e.Object.Namespace+"/"+e.Object.Name, "/")
	if e.Object.Resource == "namespaces" {
		object = e.Object.Name
	}
	row := &fleet.Event{ID: "a-" + e.AuditID, Time: fleet.MomentOf(e.At), Source: "audit", Type: "Change", Reason: e.Verb, Kind: kind, Object: object,
		Message: e.Verb + " " + e.Object.Resource + " " + object, Who: who, Code: e.Response.Code, Count: 1}
	if e.Response.Code >= 400 {
		row.Type, row.Message = "Warning", fmt.Sprintf("%s: refused with %d", row.Message, e.Response.Code)
	}
	return row
}
