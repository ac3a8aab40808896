// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestRewound: a revision that sinks is noticed, over answers that fail; one that stays or grows is none.
func TestRewound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		answers := []struct {
			revision uint64
			err      error
		}{{5, nil}, {7, nil}, {7, nil}, {0, away}, {9, nil}, {0, away}, {8, nil}}
		asked := 0
		before, after, rewound := untilRewound(t.Context(), func(context.Context) (uint64, error) {
			a := answers[asked]
			asked++
			return a.revision, a.err
		}, time.Second)
		if before != 9 || after != 8 || !rewound || asked != len(answers) {
			t.Errorf("before %d, after %d, rewound %t, asked %d times", before, after, rewound, asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		grows := uint64(0)
		if _, _, rewound := untilRewound(ctx, func(context.Context) (uint64, error) { grows++; return grows / 2, nil }, time.Second); rewound {
			t.Error("a revision that grows was taken for one that sinks")
		}
	})
}
