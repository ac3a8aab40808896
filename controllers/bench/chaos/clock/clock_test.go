// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package clock

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestTheWallClockJumpsAndTheMonotonicOneDoesNot runs itself with a clock that is ahead, comes back, and goes behind.
func TestTheWallClockJumpsAndTheMonotonicOneDoesNot(t *testing.T) {
	directory := os.Getenv(Directory)
	if directory == "" {
		directory = t.TempDir()
		command := exec.Command(os.Args[0], "-test.run="+t.Name())
		command.Env = append(os.Environ(), Directory+"="+directory)
		if err := os.WriteFile(filepath.Join(directory, name(command.Args)), []byte("7200\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	file := filepath.Join(directory, name(os.Args))
	began := time.Now()
	right := func() time.Time { // a file's time is the kernel's
		probe := filepath.Join(directory, "probe")
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(probe)
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for _, seconds := range []string{"7200", "-7200", ""} {
		var err error
		if seconds == "" {
			err = os.Remove(file)
		} else {
			err = os.WriteFile(file, []byte(seconds), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		want, _ := time.ParseDuration(seconds + "s")
		for {
			ahead := time.Now().Round(0).Sub(right())
			if (ahead - want).Abs() < time.Minute {
				break
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("the clock is %s ahead, want %s", ahead, want)
			}
			time.Sleep(every / 10)
		}
		if passed := time.Since(began); passed < 0 || passed > time.Minute {
			t.Errorf("with a clock that is %s ahead, %s have passed", want, passed)
		}
	}
}
