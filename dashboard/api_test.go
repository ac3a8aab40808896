// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gorilla/websocket"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/views"
)

func TestTheTokenLeavesTheAddress(t *testing.T) {
	w := newWorld(t, devicesOf(2)...)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) *http.Response {
		response, err := browser.Get(w.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response
	}
	if r := get("/api/v1/devices"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", r.StatusCode)
	}
	for _, wrong := range []string{"/?token=wrong-token-1234567", "/?token="} {
		if r := get(wrong); r.StatusCode != http.StatusOK || len(r.Cookies()) != 0 {
			t.Errorf("%s: %d, %v", wrong, r.StatusCode, r.Cookies())
		}
	}
	if to := get("//evil.example/?token=" + testToken).Header.Get("Location"); !strings.HasPrefix(to, "/evil") {
		t.Errorf("a redirect to %q", to)
	}
	r := get("/devices?x=1&token=" + testToken)
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/devices?x=1" {
		t.Errorf("redirect: %d to %q", r.StatusCode, to)
	}
	c := r.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, testToken) || !strings.HasPrefix(c.Name, "wasmbed-") {
		t.Errorf("cookie: %v", c)
	}
	if r := get("/api/v1/devices"); r.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %d", r.StatusCode)
	}
	// What was tampered with is no cookie of ours.
	request := httptest.NewRequest(http.MethodGet, "/api/v1/devices", nil)
	request.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value[:len(c.Value)-2] + "AA"})
	answer := httptest.NewRecorder()
	w.http.Config.Handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("a forged cookie: %d", answer.Code)
	}
}

func TestOnlyReadingIsThere(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/api/v1/devices", "/api/v1/stream", "/api/v1/devices/plant/x", "/api/v1/nothing"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "PURGE"} {
			request, err := http.NewRequestWithContext(t.Context(), method, w.http.URL+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+testToken)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, response.StatusCode)
			}
		}
	}
}

func TestBrowsersAreToldToBeCareful(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/devices", "/assets/a-1.js", "/api/v1/devices"} {
		response, err := http.Get(w.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		h := response.Header
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
		switch path {
		case "/assets/a-1.js":
			if !strings.Contains(h.Get("Cache-Control"), "immutable") || !response.Uncompressed {
				t.Errorf("asset: %v", h)
			}
		case "/", "/devices":
			_, nonce, _ := strings.Cut(policy, "'nonce-")
			nonce, _, _ = strings.Cut(nonce, "'")
			if len(nonce) < 20 || !strings.Contains(string(body), `content="`+nonce+`"`) || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: nonce %q in %s", path, nonce, body)
			}
		}
	}
}

func TestAPageThatIsNotBuiltSaysHow(t *testing.T) {
	p, err := newPage(fstest.MapFS{".keep": {}})
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if !strings.Contains(answer.Body.String(), "make build") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestAnotherSiteGetsNoWebsocket(t *testing.T) {
	w := newWorld(t)
	address := "ws" + strings.TrimPrefix(w.http.URL, "http") + "/api/v1/stream"
	for origin, want := range map[string]bool{"http://evil.example": false, "null": false, w.http.URL: true, "": true} {
		header := http.Header{"Authorization": {"Bearer " + testToken}}
		if origin != "" {
			header.Set("Origin", origin)
		}
		connection, response, err := websocket.DefaultDialer.Dial(address, header)
		if (err == nil) != want {
			t.Errorf("origin %q: %v", origin, err)
		}
		if response != nil {
			_ = response.Body.Close()
		}
		if err == nil {
			_ = connection.Close()
		}
	}
	if _, response, err := websocket.DefaultDialer.Dial(address, nil); err == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
}

func TestGuessingAndAskingHaveARate(t *testing.T) {
	w := newWorld(t)
	codes := func(bearer string, n int) map[int]int {
		seen := map[int]int{}
		for range n {
			request := httptest.NewRequest(http.MethodGet, "/api/v1/session", nil)
			request.RemoteAddr = bearer + ":1"
			request.Header.Set("Authorization", "Bearer "+bearer)
			answer := httptest.NewRecorder()
			w.http.Config.Handler.ServeHTTP(answer, request)
			seen[answer.Code]++
		}
		return seen
	}
	if seen := codes("guess", 60); seen[http.StatusTooManyRequests] == 0 || seen[http.StatusUnauthorized] > 30 || seen[http.StatusOK] != 0 {
		t.Errorf("guesses: %v", seen)
	}
	if seen := codes(testToken, 600); seen[http.StatusTooManyRequests] == 0 || seen[http.StatusOK] < 200 {
		t.Errorf("requests: %v", seen)
	}
}

func TestListsAreFilteredSortedAndCut(t *testing.T) {
	objects := devicesOf(30)
	objects = append(objects, deviceObject("odd", v1alpha1.DeviceOffline, map[string]string{"site": "Yard", "evil": "x"}))
	w := newWorld(t, objects...)
	for query, want := range map[string]string{
		"limit=2":                            "31 31 plant/d00000 plant/d00001",
		"limit=2&offset=30":                  "31 31 plant/odd",
		"offset=99":                          "31 31",
		"phase=Offline":                      "1 31 plant/odd",
		"phase=Offline,Pending":              "1 31 plant/odd",
		"search=YARD":                        "1 31 plant/odd",
		"label=site%3DYard":                  "1 31 plant/odd",
		"label=site+in+(Yard,x),!tier":       "1 31 plant/odd",
		"sort=-name&limit=2":                 "31 31 plant/odd plant/d00029",
		"sort=state&limit=1":                 "31 31 plant/odd",
		"sort=-label:site&limit=2":           "31 31 plant/d00002 plant/d00005",
		"search=d0000&sort=-phase&limit=1":   "10 31 plant/d00000",
		"namespace=other":                    "0 31",
		"gateway=plant/edge&limit=1":         "31 31 plant/d00000",
		"board=sim-m4&backend=QEMU":          "0 31",
		"state=warning&search=disconnected1": "0 31",
	} {
		status, m := w.get(t, "/api/v1/devices?"+query)
		if status != http.StatusOK {
			t.Errorf("%s: %d %v", query, status, m)
			continue
		}
		got := fmt.Sprint(m["total"], " ", m["all"])
		for _, row := range m["items"].([]any) {
			got += " " + row.(map[string]any)["id"].(string)
		}
		if want != "" && got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=501", "limit=x", "offset=-1", "sort=evil", "label=a+in+(", "phase=1&phase=2", "nothing=1", "search=" + strings.Repeat("x", 600), "search=%ff",
		"phase=" + strings.Repeat("a,", 40), "%zz"} {
		if status, m := w.get(t, "/api/v1/devices?"+query); status != http.StatusBadRequest || m["code"] != "BadRequest" || m["message"] == "" {
			t.Errorf("%.60s: %d %v", query, status, m)
		}
	}
}

func TestNamesAreSortedAsPeopleDo(t *testing.T) {
	var objects []any
	for _, n := range []string{"10", "9", "1", "2", "a"} {
		objects = append(objects, deviceObject("pump-"+n, v1alpha1.DeviceOnline, map[string]string{"site": "hall-" + n}))
	}
	w := newWorld(t, objects...)
	names := func(items any, field string) (all []string) {
		for _, item := range items.([]any) {
			all = append(all, item.(map[string]any)[field].(string))
		}
		return all
	}
	want := []string{"plant/pump-1", "plant/pump-2", "plant/pump-9", "plant/pump-10", "plant/pump-a"}
	turned := slices.Clone(want)
	slices.Reverse(turned)
	for query, want := range map[string][]string{"": want, "?sort=label:site": want, "?sort=-name": turned, "?sort=-label:site": turned, "?offset=2&limit=2": want[2:4]} {
		_, m := w.get(t, "/api/v1/devices"+query)
		if got := names(m["items"], "id"); !slices.Equal(got, want) {
			t.Errorf("devices%s: %v", query, got)
		}
	}
	_, m := w.get(t, "/api/v1/topology?group=label:site")
	if got := names(m["gateways"].([]any)[0].(map[string]any)["groups"], "name"); !slices.Equal(got, []string{"hall-1", "hall-2", "hall-9", "hall-10", "hall-a"}) {
		t.Errorf("groups: %v", got)
	}
	c := w.dial(t, "")
	c.send(`{"type":"subscribe","id":1,"view":"devices","query":{}}`)
	c.read()
	w.apply(t, deviceObject("pump-3", v1alpha1.DeviceOnline, nil))
	if inserted := c.read()["inserted"].([]any)[0].(map[string]any); inserted["at"] != 2.0 {
		t.Errorf("a new device between 2 and 9: %v", inserted)
	}
}

func TestTheSentenceWritesThousandsApart(t *testing.T) {
	w := newWorld(t, devicesOf(1200)...)
	sentence := func() any {
		_, m := w.get(t, "/api/v1/overview")
		return m["sentence"]
	}
	if got := sentence(); got != "All 1,200 devices run what git says." {
		t.Error(got)
	}
	for i := range 1100 {
		w.apply(t, deviceObject(fmt.Sprintf("d%05d", i), v1alpha1.DeviceOffline, nil))
	}
	if got := sentence(); got != "100 of 1,200 devices run what git says; 1,100 offline." {
		t.Error(got)
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"search=x&limit=3", "label=a+in+(b)&sort=-label:x", "since=15m", "sort=--name", "offset=99999999999999999999", "label=%00", "group=label:"} {
		f.Add("devices", seed)
		f.Add("topology", seed)
		f.Add("events", seed)
	}
	var t testing.T
	w := newWorld(&t, devicesOf(20)...)
	f.Fuzz(func(t *testing.T, view, query string) {
		request := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/api/v1/" + view, RawQuery: query}, Header: http.Header{"Authorization": {"Bearer " + testToken}}, RemoteAddr: "127.0.0.1:1", Host: "x"}
		answer := httptest.NewRecorder()
		w.http.Config.Handler.ServeHTTP(answer, request.WithContext(t.Context()))
		if answer.Code >= 500 && answer.Code != http.StatusServiceUnavailable {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
		p, err := views.ParamsOfJSON([]byte(query))
		if err == nil {
			_ = p.Key()
		}
	})
}

func TestTheContractsExamplesAreJSON(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, part := range strings.Split(string(text), "```") {
		example, ok := strings.CutPrefix(part, "json\n")
		if i%2 == 0 || !ok {
			continue
		}
		decoder := json.NewDecoder(strings.NewReader(example))
		for decoder.More() {
			var v any
			if err := decoder.Decode(&v); err != nil {
				t.Errorf("%v in %s", err, example)
				break
			}
			n++
		}
	}
	if n < 30 {
		t.Errorf("only %d examples", n)
	}
}

func TestTheTerminalIsNoShell(t *testing.T) {
	w := newWorld(t, devicesOf(3)...)
	run := func(line string) (int, string) {
		status, m := w.get(t, "/api/v1/terminal?line="+url.QueryEscape(line))
		text, _ := json.Marshal(m)
		return status, string(text)
	}
	for line, want := range map[string]string{
		"get devices": "d00002", "get dev -l site=hall-1": "d00001", "get devices plant/d00000": "Online", "get device d00000 -n plant": "Online", "help": "describe KIND NAME",
		"help logs": "--follow", "get problems": "columns", "events --since 15m": "columns", "top instances": "RESTARTS", `get devices -l "site in (hall-2, x)"`: "d00002", "get commits": "COMMIT", "": "output",
	} {
		if status, text := run(line); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%q: %d %s", line, status, text)
		}
	}
	for _, line := range []string{"rm -rf /", "get devices | sh", "get devices; ls", "get $(id)", "get `id`", "get devices > /tmp/x", "get secrets", "describe secrets a/b", "delete devices plant/d00000",
		"get devices -x", "get devices -n", "get devices -n a -n b", "get", "help help help", `get "devices`, "get devices\nls", strings.Repeat("x", 513), "logs -f plant/d00000", "apply", "GET devices", "get devices *", "get ../../etc/passwd"} {
		if status, text := run(line); status != http.StatusBadRequest && status != http.StatusServiceUnavailable {
			t.Errorf("%q: %d %s", line, status, text)
		}
	}
	c := w.dial(t, "")
	c.send(`{"type":"run","id":5,"line":"get devices"}`)
	if m := c.read(); m["type"] != "output" || m["seq"] != 1.0 || len(m["rows"].([]any)) != 3 {
		t.Errorf("%v", m)
	}
	if m := c.read(); m["type"] != "done" || m["ok"] != true {
		t.Errorf("%v", m)
	}
	for line, want := range map[string]string{"": "[get describe logs trace top events help]", "de": "[describe]", "get dev": "[devices]", "get devices plant/d00001": "[plant/d00001]", "logs plant/d": "[plant/d00000 plant/d00001 plant/d00002]", "get devices --la": "[--label]", "get devices -n ": "[plant]", "nothing ": "[]"} {
		text, _ := json.Marshal(line)
		c.send(`{"type":"complete","id":6,"line":` + string(text) + `}`)
		if m := c.read(); m["type"] != "completions" || fmt.Sprint(m["items"]) != want {
			t.Errorf("%q: %v", line, m)
		}
	}
}
