// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
)

// Requests counts requests of the API server, by "verb resource": "POST devices", "PATCH devices/status".
type Requests map[string]int

// writes are the verbs that change something.
var writes = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}

// Counter reads what an API server counts.
type Counter struct {
	client *http.Client
	url    string
}

// NewCounter makes a counter for the API server of a config.
func NewCounter(config *rest.Config) (*Counter, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &Counter{client: client, url: config.Host + "/metrics"}, nil
}

// Read is what was asked since the API server started.
func (c *Counter) Read(ctx context.Context) (Requests, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics of the API server: %w", err)
	}
	return parse(body)
}

func parse(body []byte) (Requests, error) {
	const metric = "apiserver_request_total"
	var wanted bytes.Buffer // the rest is megabytes
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte(metric)) {
			wanted.Write(line)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&wanted)
	if err != nil {
		return nil, fmt.Errorf("metrics of the API server: %w", err)
	}
	requests := Requests{}
	for _, m := range families[metric].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		name := labels["verb"] + " " + labels["resource"]
		if sub := labels["subresource"]; sub != "" {
			name += "/" + sub
		}
		value := m.GetUntyped().GetValue()
		if counter := m.GetCounter(); counter != nil {
			value = counter.GetValue()
		}
		requests[name] += int(value)
	}
	return requests, nil
}

// Since is what came on top of before.
func (r Requests) Since(before Requests) Requests {
	out := Requests{}
	for name, n := range r {
		if n -= before[name]; n > 0 {
			out[name] = n
		}
	}
	return out
}

// Writes are the requests that change objects, those of Leases left out.
func (r Requests) Writes() Requests {
	out := maps.Clone(r)
	maps.DeleteFunc(out, func(name string, _ int) bool {
		verb, resource, _ := strings.Cut(name, " ")
		return !slices.Contains(writes, verb) || resource == "leases" || strings.HasPrefix(resource, "tokenreviews") || strings.Contains(resource, "accessreviews")
	})
	return out
}

// Total is the number of all of them.
func (r Requests) Total() (sum int) {
	for _, n := range r {
		sum += n
	}
	return sum
}

// String lists them, the most frequent first.
func (r Requests) String() string {
	names := slices.SortedFunc(maps.Keys(r), func(a, b string) int {
		if r[a] != r[b] {
			return r[b] - r[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%s %d", name, r[name]))
	}
	return strings.Join(parts, ", ")
}

// Settle waits until nothing but Leases is written for a while, and returns what was asked until then and when the last
// write was seen.
func (c *Counter) Settle(ctx context.Context, quiet time.Duration) (Requests, time.Time, error) {
	var last Requests
	var changed time.Time
	for {
		now, err := c.Read(ctx)
		if err != nil {
			return nil, time.Time{}, err
		}
		if last == nil || now.Writes().Total() != last.Writes().Total() {
			last, changed = now, time.Now()
		} else if time.Since(changed) >= quiet {
			return now, changed, nil
		}
		select {
		case <-ctx.Done():
			return nil, time.Time{}, fmt.Errorf("objects are still being written: %w", ctx.Err())
		case <-time.After(quiet / 4):
		}
	}
}
