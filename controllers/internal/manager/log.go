// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"log"
	"strings"

	"github.com/go-logr/logr"
)

// quiet is a logger for net/http, whose lines are about what strangers do: they are for debugging only.
func quiet(to logr.Logger) *log.Logger { return log.New(lines{to}, "", 0) }

type lines struct{ logr.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.V(1).Info("http server", "line", strings.TrimSpace(string(p)))
	return len(p), nil
}
