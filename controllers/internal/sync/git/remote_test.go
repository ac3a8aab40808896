// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/sync/gittest"
)

func TestHTTPSWithToken(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Commit("first", map[string]string{"a.txt": "1"})
	server := gittest.ServeHTTPS(t, repo, "deploy", "s3cret-token")
	good := Credentials{Username: "deploy", Password: "s3cret-token", CA: server.CA}

	c := Open(t.TempDir())
	if commit := fetch(t, c, Source{URL: server.URL, Branch: "main", Credentials: good}); commit.Hash.String() != first {
		t.Fatal("not the first commit")
	}
	second := repo.Commit("second", map[string]string{"a.txt": "2"})
	if commit := fetch(t, c, Source{URL: server.URL, Branch: "main", Credentials: good}); commit.Hash.String() != second {
		t.Fatal("not the second commit")
	}
	for name, credentials := range map[string]Credentials{
		"wrong token":           {Username: "deploy", Password: "wr0ng-token", CA: server.CA},
		"no token":              {CA: server.CA},
		"certificate not known": {Username: "deploy", Password: "s3cret-token"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: server.URL, Branch: "main", Credentials: credentials})
			wantReason(t, err, api.ReasonAuthenticationFailed)
			if strings.Contains(err.Error(), "token") {
				t.Errorf("message %q tells the credential", err)
			}
		})
	}
	_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: strings.Replace(server.URL, "fleet.git", "other.git", 1), Branch: "main", Credentials: good})
	wantReason(t, err, api.ReasonRemoteUnreachable, "no such repository")
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	leaked := make(chan string, 8)
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer thief.Close()
	front := httptest.NewServer(http.RedirectHandler(thief.URL+"/fleet.git/info/refs?service=git-upload-pack", http.StatusFound))
	defer front.Close()
	_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: front.URL + "/fleet.git", Branch: "main", Credentials: Credentials{Username: "u", Password: "s3cret"}})
	if err == nil {
		t.Fatal("fetched from nowhere")
	}
	select {
	case header := <-leaked:
		if header != "" {
			t.Fatalf("the other server got %q", header)
		}
	default:
	}
}

func TestSSHWithKeyAndKnownHosts(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Commit("first", map[string]string{"a.txt": "1"})
	server := gittest.ServeSSH(t, repo)
	good := Credentials{Identity: server.ClientKey, KnownHosts: server.KnownHosts}
	c := Open(t.TempDir())
	if commit := fetch(t, c, Source{URL: server.URL, Branch: "main", Credentials: good}); commit.Hash.String() != first {
		t.Fatal("not the first commit")
	}
	second := repo.Commit("second", map[string]string{"a.txt": "2"})
	if commit := fetch(t, c, Source{URL: server.URL, Branch: "main", Credentials: good}); commit.Hash.String() != second {
		t.Fatal("not the second commit")
	}
	for name, try := range map[string]struct {
		credentials Credentials
		reason      string
	}{
		"key that the server does not know": {Credentials{Identity: gittest.NewSSHKey(t), KnownHosts: server.KnownHosts}, api.ReasonAuthenticationFailed},
		"host that is not known":            {Credentials{Identity: server.ClientKey, KnownHosts: server.OtherHost}, api.ReasonAuthenticationFailed},
		"host with another key":             {Credentials{Identity: server.ClientKey, KnownHosts: server.OtherKey}, api.ReasonAuthenticationFailed},
		"no key":                            {Credentials{KnownHosts: server.KnownHosts}, api.ReasonInvalidSecret},
		"no known hosts":                    {Credentials{Identity: server.ClientKey}, api.ReasonInvalidSecret},
		"key that is none":                  {Credentials{Identity: []byte("s3cret"), KnownHosts: server.KnownHosts}, api.ReasonInvalidSecret},
		"known hosts that are none":         {Credentials{Identity: server.ClientKey, KnownHosts: []byte("s3cret x y")}, api.ReasonInvalidSecret},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: server.URL, Branch: "main", Credentials: try.credentials})
			wantReason(t, err, try.reason)
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("message %q tells the credential", err)
			}
		})
	}
	_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: server.URL + "-other", Branch: "main", Credentials: good})
	wantReason(t, err, api.ReasonRemoteUnreachable)
}

func TestRemoteThatIsAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	key := gittest.NewSSHKey(t)
	for _, url := range []string{"http://" + address + "/fleet.git", "https://" + address + "/fleet.git", "ssh://git@" + address + "/fleet.git"} {
		source := Source{URL: url, Branch: "main", Credentials: Credentials{Identity: key, KnownHosts: []byte("example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")}}
		_, err := Open(t.TempDir()).Fetch(timeout(t), source)
		wantReason(t, err, api.ReasonRemoteUnreachable, address, "refuses connections")
	}
}

// A remote that takes the connection and then says nothing holds nobody longer than the deadline.
func TestRemoteThatSaysNothing(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	key := gittest.NewSSHKey(t)
	for _, scheme := range []string{"http", "https", "ssh"} {
		t.Run(scheme, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			source := Source{URL: scheme + "://" + listener.Addr().String() + "/fleet.git", Branch: "main",
				Credentials: Credentials{Identity: key, KnownHosts: []byte("example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n")}}
			_, err := Open(t.TempDir()).Fetch(ctx, source)
			wantReason(t, err, api.ReasonRemoteUnreachable, "does not answer in time")
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestParseCredentials(t *testing.T) {
	for name, try := range map[string]struct {
		url    string
		data   map[string][]byte
		reason string
	}{
		"token alone":          {"https://h/x", map[string][]byte{"password": []byte("t\n")}, ""},
		"authority alone":      {"https://h/x", map[string][]byte{"ca.crt": []byte("x")}, ""},
		"user without token":   {"https://h/x", map[string][]byte{"username": []byte("u")}, api.ReasonInvalidSecret},
		"empty Secret":         {"https://h/x", nil, api.ReasonInvalidSecret},
		"ssh with a token":     {"ssh://h/x", map[string][]byte{"password": []byte("t")}, api.ReasonInvalidSecret},
		"ssh without a host":   {"ssh://h/x", map[string][]byte{"identity": []byte("t")}, api.ReasonInvalidSecret},
		"file needs no Secret": {"file:///x", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseCredentials(try.url, try.data)
			if (err == nil) != (try.reason == "") || err != nil && Reason(err) != try.reason {
				t.Fatalf("%v, want reason %q", err, try.reason)
			}
			if err == nil && c.Password != "" && (c.Password != "t" || c.Username != "git") {
				t.Errorf("username %q, password %q", c.Username, c.Password)
			}
		})
	}
}
