// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// realPack is what git itself packs of a small history.
func realPack(f *testing.F) []byte {
	f.Helper()
	dir := f.TempDir()
	run := func(args ...string) []byte {
		command := exec.Command("git", args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org",
			"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org", "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
		out, err := command.Output()
		if err != nil {
			f.Fatalf("git %v: %v", args, err)
		}
		return out
	}
	run("init", "-q", "-b", "main", ".")
	for n := range 3 {
		content := bytes.Repeat([]byte("the same line again\n"), 40+n)
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), content, 0o600); err != nil {
			f.Fatal(err)
		}
		run("add", "-A")
		run("commit", "-q", "-m", "change")
	}
	run("gc", "-q")
	packs, err := filepath.Glob(filepath.Join(dir, ".git/objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		f.Fatalf("packs: %v, %v", packs, err)
	}
	content, err := os.ReadFile(packs[0])
	if err != nil {
		f.Fatal(err)
	}
	return content
}

// FuzzPack receives arbitrary packs: what passes the check is small, and indexing it ends.
func FuzzPack(f *testing.F) {
	pack := realPack(f)
	f.Add(pack)
	f.Add(pack[:len(pack)/2])
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff\x9f"))
	small := limits{pack: 1 << 20, objects: 1000, object: 1 << 16, inflated: 1 << 20}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		file, err := os.Create(filepath.Join(dir, "incoming"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if spool(file, bytes.NewReader(content), small.pack) != nil || checkPack(file, small) != nil {
			return
		}
		c := Open(filepath.Join(dir, "clone"))
		if err := c.open(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		_ = packfile.UpdateObjectStorage(c.storage, bufio.NewReader(file)) // refuses or indexes
	})
}

// FuzzAdvertisedRefs reads what an arbitrary remote says that it has.
func FuzzAdvertisedRefs(f *testing.F) {
	const hash = "0123456789012345678901234567890123456789"
	f.Add([]byte("004e"+hash+" refs/heads/main\x00side-band-64k\n0000"), "main")
	f.Add([]byte("0000"), "main")
	f.Add([]byte("ffff"), "")
	f.Add([]byte("001e# service=git-upload-pack\n0000003d"+hash+" HEAD\x00agent=x\n0000"), hash)
	f.Fuzz(func(t *testing.T, said []byte, name string) {
		refs := packp.NewAdvRefs()
		if refs.Decode(bytes.NewReader(said)) != nil {
			return
		}
		c := Open(t.TempDir())
		if err := c.open(); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, source := range []Source{{URL: "file:///x", Branch: name}, {URL: "file:///x", Tag: name}, {URL: "file:///x", Commit: hash}} {
			if _, err := target(refs, source); err != nil && Reason(classify(t.Context(), source, err)) == "" {
				t.Errorf("an error without a reason: %v", err)
			}
			_, _ = c.wants(refs, source)
		}
	})
}

// FuzzCredentials reads arbitrary Secrets for arbitrary addresses.
func FuzzCredentials(f *testing.F) {
	f.Add("https://example.org/x", "user", "secret", "", "")
	f.Add("ssh://git@example.org/x", "", "", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "example.org ssh-ed25519 AAAA")
	f.Add("file:///x", "", "", "", "")
	f.Add("http://[::1", "\x00", "\n", "x", "@cert-authority * x")
	f.Fuzz(func(t *testing.T, address, user, password, key, hosts string) {
		data := map[string][]byte{"username": []byte(user), "password": []byte(password), "identity": []byte(key), "known_hosts": []byte(hosts),
			"ssh-privatekey": []byte(key)}
		if c, err := ParseCredentials(address, data); err == nil {
			_, _ = c.clientConfig("git", "example.org:22")
		} else if len(password) > 8 && bytes.Contains([]byte(err.Error()), []byte(password)) && !bytes.Contains([]byte(address+user+key+hosts), []byte(password)) {
			t.Errorf("the error tells the password: %v", err)
		}
	})
}
