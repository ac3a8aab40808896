// SPDX-License-Identifier: Apache-2.0

package local

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person what is going on: one line a step with how long it took, and after a while what it
// waits for.
type progress struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, format, args...)
}

// step runs work under a name. Work may return a word on its outcome, shown behind the time.
func (p *progress) step(name string, work func(waiting func(string)) (string, error)) error {
	began := time.Now()
	var mu sync.Mutex
	waitsFor := ""
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		p.tellWaiting(name, done, func() string {
			mu.Lock()
			defer mu.Unlock()
			return waitsFor
		})
	}()
	note, err := work(func(what string) {
		mu.Lock()
		defer mu.Unlock()
		waitsFor = what
	})
	close(done)
	<-told
	if err != nil {
		p.printf("  %-22s failed\n", name)
		return fmt.Errorf("%s: %w", name, err)
	}
	p.printf("  %-22s %5.1f s  %s\n", name, time.Since(began).Seconds(), note)
	return nil
}

// tellWaiting says every five seconds what a step waits for, when that is something new.
func (p *progress) tellWaiting(name string, done <-chan struct{}, what func() string) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if now := what(); now != said {
				p.printf("  %-22s waits: %s\n", name, now)
				said = now
			}
		}
	}
}
