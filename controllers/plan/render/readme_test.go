// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"os"
	"strings"
	"testing"
)

// TestTheReadmeShowsAComment: README.md has a comment as it is written.
func TestTheReadmeShowsAComment(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(readme), "\n## A comment\n\n")
	if !ok {
		t.Fatal("README.md has no section with a comment")
	}
	comment, err := os.ReadFile("testdata/release.md")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../README.md", before+"\n## A comment\n\n"+string(comment))
}
