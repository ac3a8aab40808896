// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/views"
)

// kind is what get and describe know of a kind.
type kind struct {
	names   []string // the view's name first
	detail  string   // the view of one; empty: there is none
	params  []string
	columns []string
	cells   func(row fleet.Row) []string
}

var kinds = []kind{
	{[]string{"devices", "device", "dev"}, "device", []string{"namespace", "label", "phase", "state", "search", "sort"},
		[]string{"NAMESPACE", "NAME", "PHASE", "APPS", "BOARD", "BACKEND", "GATEWAY", "REASON"}, func(row fleet.Row) []string {
			d := row.(*fleet.Device)
			return []string{d.Metadata.Namespace, d.Metadata.Name, d.Phase, fmt.Sprintf("%d/%d", d.Running, d.Wanted), d.Board, d.Backend, d.Gateway, d.Reason}
		}},
	{[]string{"applications", "application", "apps", "app"}, "application", []string{"namespace", "label", "state", "search", "sort"},
		[]string{"NAMESPACE", "NAME", "READY", "REASON", "TARGET", "UPDATED", "RUNNING", "FAILED", "OFFLINE"}, func(row fleet.Row) []string {
			a := row.(*fleet.Application)
			return []string{a.Metadata.Namespace, a.Metadata.Name, a.Ready, a.Reason, number(a.Target), number(a.Updated), number(a.Running), number(a.Failed), number(a.Offline)}
		}},
	{[]string{"instances", "instance", "inst"}, "", []string{"namespace", "phase", "state", "search", "sort"},
		[]string{"NAMESPACE", "APPLICATION", "DEVICE", "PHASE", "RESTARTS", "COMMIT", "REASON"}, func(row fleet.Row) []string {
			i := row.(*fleet.Instance)
			return []string{i.Metadata.Namespace, nameOf(i.Application), nameOf(i.Device), i.Phase, number(i.Restarts), short(i.Revision), i.Reason}
		}},
	{[]string{"gateways", "gateway", "gw"}, "gateway", []string{"namespace", "state", "search", "sort"},
		[]string{"NAMESPACE", "NAME", "READY", "REASON", "ADDRESS", "ASSIGNED", "CONNECTED"}, func(row fleet.Row) []string {
			g := row.(*fleet.Gateway)
			return []string{g.Metadata.Namespace, g.Metadata.Name, g.Ready, g.Reason, g.Address, number(g.Assigned), number(g.Connected)}
		}},
	{[]string{"repositories", "repository", "repo"}, "", []string{"namespace", "state", "search", "sort"},
		[]string{"NAMESPACE", "NAME", "READY", "REASON", "APPLIED", "SUBJECT"}, func(row fleet.Row) []string {
			r := row.(*fleet.Repository)
			return []string{r.Metadata.Namespace, r.Metadata.Name, r.Ready, r.Reason, short(r.Applied), r.Subject}
		}},
	{[]string{"commits", "commit"}, "commit", []string{"state", "search", "sort"},
		[]string{"COMMIT", "OUTCOME", "RUNNING", "FAILED", "WAITING", "AUTHOR", "SUBJECT"}, func(row fleet.Row) []string {
			c := row.(*fleet.Commit)
			return []string{short(c.Commit), c.Outcome, number(c.Running), number(c.Failed), number(c.Waiting), c.Author, c.Subject}
		}},
	{[]string{"problems", "problem"}, "", []string{"state", "search", "sort"},
		[]string{"STATE", "KIND", "COUNT", "OBJECTS", "REASON", "MESSAGE"}, func(row fleet.Row) []string {
			p := row.(*fleet.Problem)
			return []string{string(p.State), p.Kind, number(p.Count), strings.Join(p.Objects, " "), p.Reason, p.Message}
		}},
}

func kindNamed(name string) (*kind, error) {
	for i := range kinds {
		if slices.Contains(kinds[i].names, name) {
			return &kinds[i], nil
		}
	}
	var names []string
	for i := range kinds {
		names = append(names, kinds[i].names[0])
	}
	return nil, badRequest("there is no kind %.40q; there are: %s", name, strings.Join(names, " "))
}

func number[N int | int32 | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

func short(commit string) string { return commit[:min(8, len(commit))] }

func nameOf(id string) string {
	_, name, _ := strings.Cut(id, "/")
	return name
}

// target reads "NAMESPACE/NAME", or a name with -n.
func (c *call) target(word string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(word, "/")
	if !ok {
		namespace, name = c.flags["--namespace"], word
	}
	if namespace == "" || name == "" {
		return "", "", badRequest("name it NAMESPACE/NAME, or give -n NAMESPACE")
	}
	return namespace, name, nil
}

func get(_ context.Context, c *call) error {
	k, err := kindNamed(c.args[0])
	if err != nil {
		return err
	}
	for name := range c.flags {
		if name != "--limit" && !slices.Contains(k.params, name[2:]) {
			return badRequest("%s has no %s", k.names[0], name)
		}
	}
	p := c.params(append(slices.Clone(k.params), "limit")...)
	if p["limit"] == "" {
		p["limit"] = number(views.MaxLimit)
	}
	if len(c.args) == 2 {
		return c.getOne(k, c.args[1])
	}
	list, err := c.Engine.OpenList(k.names[0], p, c.scope)
	if err != nil {
		return err
	}
	defer list.Close()
	rows, total, _ := list.Rows()
	var cells [][]string
	for _, row := range rows {
		cells = append(cells, k.cells(row))
	}
	c.table(k.columns, cells)
	if total > len(rows) {
		c.say(stream.Chunk{Text: fmt.Sprintf("%d more; narrow it down with -l, --phase or --search\n", total-len(rows))})
	}
	return nil
}

func (c *call) getOne(k *kind, word string) error {
	if k.names[0] == "commits" || k.names[0] == "problems" {
		return badRequest("%s are listed; one commit is `trace COMMIT`", k.names[0])
	}
	namespace, name, err := c.target(word)
	if err != nil {
		return err
	}
	row := c.Engine.Store.Get(fleet.Kind(k.names[0]), namespace+"/"+name, c.scope)
	if row == nil {
		return fmt.Errorf("%w: there is no %s %.63s/%.130s that you may see", views.ErrNotFound, k.names[1], namespace, name)
	}
	c.table(k.columns, [][]string{k.cells(row)})
	return nil
}

func describe(ctx context.Context, c *call) error {
	k, err := kindNamed(c.args[0])
	if err != nil {
		return err
	}
	if k.detail == "" {
		return badRequest("%s cannot be described; use get", k.names[0])
	}
	p := views.Params{"commit": c.args[1]}
	if k.detail != "commit" {
		namespace, name, err := c.target(c.args[1])
		if err != nil {
			return err
		}
		p = views.Params{"namespace": namespace, "name": name}
	}
	value, err := c.Engine.Compute(ctx, k.detail, p, c.scope)
	if err != nil {
		return err
	}
	rows, err := flatten(value)
	if err != nil {
		return err
	}
	c.table([]string{"FIELD", "VALUE"}, rows)
	return nil
}

// flatten lists the fields of a value as lines, as JSON has them; histories are left to the page.
func flatten(value any) ([][]string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	delete(fields, "history")
	var rows [][]string
	flattenInto(&rows, "", fields)
	return rows, nil
}

func flattenInto(rows *[][]string, path string, value any) {
	join := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v := value.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(weight(v[a]), weight(v[b])), strings.Compare(a, b)) })
		for _, name := range names {
			flattenInto(rows, join(name), v[name])
		}
	case []any:
		for i, one := range v {
			flattenInto(rows, join(strconv.Itoa(i)), one)
		}
	case float64:
		*rows = append(*rows, []string{path, strconv.FormatFloat(v, 'f', -1, 64)})
	default:
		*rows = append(*rows, []string{path, fmt.Sprint(v)})
	}
}

// weight puts plain values before those that hold others.
func weight(v any) int {
	switch v.(type) {
	case map[string]any:
		return 1
	case []any:
		return 2
	}
	return 0
}

var logColumns = []string{"TIME", "DEVICE", "SOURCE", "LEVEL", "TEXT"}

func logCells(l views.LogLine) []string {
	return []string{l.Time.UTC().Format("2006-01-02T15:04:05.000Z"), l.Device, cmp.Or(l.App, "firmware"), l.Level, l.Text}
}

func logs(ctx context.Context, c *call) error {
	if c.Past == nil || c.Tail == nil {
		return fmt.Errorf("%w: the dashboard has no identity to ask gateways with", views.ErrUnavailable)
	}
	p := c.params("namespace", "app", "level", "search", "lines")
	if len(c.args) == 1 {
		namespace, name, err := c.target(c.args[0])
		if err != nil {
			return err
		}
		p["device"] = namespace + "/" + name
	}
	if _, follow := c.flags["--follow"]; follow {
		return c.Tail(ctx, p, c.scope, func(chunk stream.Chunk) {
			if chunk.Retrying != nil {
				c.say(stream.Chunk{Text: views.Plain(chunk.Retrying) + "; trying again\n"})
				return
			}
			var rows [][]string
			for _, line := range chunk.Lines {
				rows = append(rows, logCells(line))
			}
			c.table(logColumns, rows)
		})
	}
	past, err := c.Past(ctx, p, c.scope)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, line := range past.Lines {
		rows = append(rows, logCells(line))
	}
	c.table(logColumns, rows)
	for _, problem := range past.Errors {
		c.say(stream.Chunk{Text: problem + "\n"})
	}
	return nil
}

func trace(ctx context.Context, c *call) error {
	p := views.Params{}
	if len(c.args) == 1 {
		p["commit"] = c.args[0]
	} else {
		list, err := c.Engine.OpenList("commits", views.Params{"limit": "1"}, c.scope)
		if err != nil {
			return err
		}
		defer list.Close()
		rows, _, _ := list.Rows()
		if len(rows) == 0 {
			return fmt.Errorf("%w: there is no commit yet", views.ErrNotFound)
		}
		p["commit"] = rows[0].(*fleet.Commit).Commit
	}
	value, err := c.Engine.Compute(ctx, "commit", p, c.scope)
	if err != nil {
		return err
	}
	d := value.(*views.CommitDetail)
	c.say(stream.Chunk{Text: fmt.Sprintf("%s  %q by %s\n%s by %s\n", d.Commit.Commit, d.Subject, d.Author, strings.TrimSpace(d.Outcome+" "+d.Reason+" "+d.Message), d.Repository)})
	for _, f := range d.Findings {
		c.say(stream.Chunk{Text: fmt.Sprintf("%s:%d: %s: %s\n", f.File, f.Line, f.Reason, f.Message)})
	}
	var rows [][]string
	for _, stage := range d.Stages {
		row := []string{stage.Name, "", "-", "-", "-", ""}
		if stage.PerInstance {
			row[1] = strconv.Itoa(stage.Count)
		}
		if q := stage.SinceStart; q != nil {
			row[2], row[3], row[4], row[5] = milliseconds(q.P50), milliseconds(q.P95), milliseconds(q.Max), q.Slowest
		}
		rows = append(rows, row)
	}
	c.table([]string{"STAGE", "COUNT", "P50", "P95", "LAST", "SLOWEST DEVICE"}, rows)
	c.say(stream.Chunk{Text: fmt.Sprintf("%d instances: %d running, %d failed, %d on their way; times since the push\n", d.Instances, d.Running, d.Failed, d.Waiting)})
	for _, f := range d.Failures {
		c.say(stream.Chunk{Text: fmt.Sprintf("%s on %s: %s %s: %s\n", f.Application, f.Device, f.Phase, f.Reason, f.Message)})
	}
	return nil
}

func milliseconds(m float64) string { return fmt.Sprintf("%.0f ms", m) }

func top(ctx context.Context, c *call) error {
	what := "processes"
	if len(c.args) == 1 {
		what = c.args[0]
	}
	limit := 20
	if text, ok := c.flags["--limit"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > views.MaxLimit {
			return badRequest("--limit is a number from 1 to %d", views.MaxLimit)
		}
		limit = n
	}
	if what == "instances" {
		return c.topInstances(limit)
	}
	value, err := c.Engine.Compute(ctx, "system", views.Params{}, c.scope)
	if err != nil {
		return err
	}
	system := value.(*views.System)
	switch what {
	case "processes":
		var rows [][]string
		slices.SortFunc(system.Processes, func(a, b views.Process) int {
			return cmp.Compare(newest(b.Series["cpu_percent"]), newest(a.Series["cpu_percent"]))
		})
		for _, p := range system.Processes[:min(limit, len(system.Processes))] {
			rows = append(rows, []string{p.Name, strconv.Itoa(p.PID), fmt.Sprintf("%.1f", newest(p.Series["cpu_percent"])), megabytes(newest(p.Series["memory_bytes"]))})
		}
		c.table([]string{"PROCESS", "PID", "CPU %", "MEMORY"}, rows)
	case "gateways":
		var rows [][]string
		for _, g := range system.Gateways {
			rows = append(rows, []string{g.ID, fmt.Sprintf("%.0f", newest(g.Series["connections"])), fmt.Sprintf("%.0f", newest(g.Series["frames_in"])), fmt.Sprintf("%.0f", newest(g.Series["errors"])), megabytes(newest(g.Series["memory_bytes"])), g.Error})
		}
		c.table([]string{"GATEWAY", "CONNECTIONS", "FRAMES IN/MIN", "ERRORS/MIN", "MEMORY", "PROBLEM"}, rows)
	default:
		return badRequest("top of %.40q: there are processes, gateways and instances", what)
	}
	return nil
}

func (c *call) topInstances(limit int) error {
	list, err := c.Engine.OpenList("instances", views.Params{"sort": "-restarts", "limit": strconv.Itoa(limit)}, c.scope)
	if err != nil {
		return err
	}
	defer list.Close()
	rows, _, _ := list.Rows()
	var cells [][]string
	for _, row := range rows {
		i := row.(*fleet.Instance)
		cells = append(cells, []string{i.Application, i.Device, number(i.Restarts), i.Phase, i.Reason})
	}
	c.table([]string{"APPLICATION", "DEVICE", "RESTARTS", "PHASE", "REASON"}, cells)
	return nil
}

// newest is the last point that is known.
func newest(line []*float64) float64 {
	for _, point := range slices.Backward(line) {
		if point != nil {
			return *point
		}
	}
	return 0
}

func megabytes(bytes float64) string { return fmt.Sprintf("%.0f MB", bytes/1e6) }

func events(_ context.Context, c *call) error {
	p := c.params("namespace", "since", "type", "search", "limit")
	list, err := c.Engine.OpenList("events", p, c.scope)
	if err != nil {
		return err
	}
	defer list.Close()
	rows, _, _ := list.Rows()
	var cells [][]string
	for _, row := range slices.Backward(rows) { // the newest last, as in a log
		e := row.(*fleet.Event)
		cells = append(cells, []string{e.Time.Time().Format(time.RFC3339), e.Type, e.Reason, e.Kind + " " + e.Object, e.Who, e.Message})
	}
	c.table([]string{"TIME", "TYPE", "REASON", "OBJECT", "WHO", "MESSAGE"}, cells)
	return nil
}
