// SPDX-License-Identifier: Apache-2.0

// Package terminal runs the few read-only commands of the page's terminal. They are functions of this package over the
// same views that the page shows: there is no shell, no program is started, and nothing can be changed.
package terminal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-logr/logr"

	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/views"
)

// Bounds of a command.
const (
	maxLine  = 512
	maxWords = 32
	// rowsOfOne is how many rows one message has.
	rowsOfOne = 200
	timeout   = 30 * time.Second
	// maxFollow is how long a command that follows goes on.
	maxFollow = time.Hour
)

// Terminal runs commands.
type Terminal struct {
	Engine *views.Engine
	// Tail follows logs and Past reads them; they may be nil.
	Tail stream.Source
	Past func(ctx context.Context, p views.Params, scope fleet.Scope) (*views.Logs, error)
	Log  logr.Logger
}

// call is one command as it was understood.
type call struct {
	*Terminal
	args  []string
	flags map[string]string
	scope fleet.Scope
	say   func(stream.Chunk)
}

// command is one of the few.
type command struct {
	usage, short string
	// args are the least and the most arguments.
	least, most int
	// flags by name, with what they mean; a flag without "=" takes no value.
	flags []flag
	run   func(ctx context.Context, c *call) error
}

type flag struct {
	names []string
	value string // what the value is; empty: it takes none
	short string
}

var (
	inNamespace = flag{[]string{"-n", "--namespace"}, "NAMESPACE", "only this namespace"}
	withLabel   = flag{[]string{"-l", "--label"}, "SELECTOR", "only what has these labels"}
	withLimit   = flag{[]string{"--limit"}, "N", "at most N rows"}
	sorted      = flag{[]string{"--sort"}, "FIELD", "sort by a field; -FIELD turns round"}
	withPhase   = flag{[]string{"--phase"}, "PHASES", "only these phases"}
	withState   = flag{[]string{"--state"}, "STATES", "only these states"}
	searched    = flag{[]string{"--search"}, "TEXT", "only what contains the text"}
)

var commands map[string]*command

func init() { // help reads commands
	commands = map[string]*command{
		"get": {"get KIND [NAME]", "list devices, applications, instances, gateways, repositories, commits, problems", 1, 2,
			[]flag{inNamespace, withLabel, withPhase, withState, searched, sorted, withLimit}, get},
		"describe": {"describe KIND NAME", "all that is known of one object", 2, 2, []flag{inNamespace}, describe},
		"logs": {"logs [NAMESPACE/DEVICE]", "what devices say", 0, 1, []flag{inNamespace, {[]string{"-f", "--follow"}, "", "go on with what comes"},
			{[]string{"-a", "--app"}, "APP", "only this app"}, {[]string{"--level"}, "LEVEL", "debug, info, warning or error, and above"}, searched, {[]string{"--lines"}, "N", "lines of the past"}}, logs},
		"trace":  {"trace [COMMIT]", "a commit from the push to running; the newest when none is named", 0, 1, nil, trace},
		"top":    {"top [processes|gateways|instances]", "who uses most", 0, 1, []flag{withLimit}, top},
		"events": {"events", "what happened, and who changed what", 0, 0, []flag{inNamespace, {[]string{"--since"}, "TIME", "15m, or a time"}, {[]string{"--type"}, "TYPE", "Normal, Warning or Change"}, searched, withLimit}, events},
		"help":   {"help [COMMAND]", "say what there is", 0, 1, nil, help},
	}
}

// Run implements stream.Terminal. Every use is logged.
func (t *Terminal) Run(ctx context.Context, user, line string, scope fleet.Scope, say func(stream.Chunk)) error {
	return t.logged(ctx, user, line, scope, true, say)
}

// RunOnce runs a command that ends by itself.
func (t *Terminal) RunOnce(ctx context.Context, user, line string, scope fleet.Scope, say func(stream.Chunk)) error {
	return t.logged(ctx, user, line, scope, false, say)
}

func (t *Terminal) logged(ctx context.Context, user, line string, scope fleet.Scope, mayFollow bool, say func(stream.Chunk)) error {
	began := time.Now()
	err := t.run(ctx, line, scope, mayFollow, say)
	said := ""
	if err != nil {
		said = err.Error()
	}
	t.Log.Info("terminal", "user", user, "line", printable(line), "took", time.Since(began).Round(time.Millisecond).String(), "error", said)
	return err
}

func printable(line string) string {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, line)
}

func (t *Terminal) run(ctx context.Context, line string, scope fleet.Scope, mayFollow bool, say func(stream.Chunk)) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return nil
	}
	c, ok := commands[words[0]]
	if !ok {
		return badRequest("there is no command %.40q: `help` lists those that there are", words[0])
	}
	parsed, err := c.parse(words[1:])
	if err != nil {
		return fmt.Errorf("%w; usage: %s", err, c.usage)
	}
	parsed.Terminal, parsed.scope, parsed.say = t, scope, say
	limit := timeout
	if _, follows := parsed.flags["--follow"]; follows {
		if !mayFollow {
			return badRequest("nothing is followed here: leave -f out, or use the websocket")
		}
		limit = maxFollow
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.run(ctx, parsed)
}

func badRequest(format string, args ...any) error {
	return fmt.Errorf("%w: %s", views.ErrBadRequest, fmt.Sprintf(format, args...))
}

// split cuts a line into words at spaces; double quotes keep them together. What a shell would act on is refused, so
// that nobody believes it was.
func split(line string) ([]string, error) {
	if len(line) > maxLine {
		return nil, badRequest("a line has at most %d bytes", maxLine)
	}
	var words []string
	var word strings.Builder
	quoted, open := false, false
	end := func() {
		if open {
			words = append(words, word.String())
			word.Reset()
			open = false
		}
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case !quoted && r == ' ':
			end()
		case !unicode.IsPrint(r):
			return nil, badRequest("a line is printable text")
		case !quoted && strings.ContainsRune("|&;<>$`\\*?'{}[]#~", r):
			return nil, badRequest("%q means nothing here: there is no shell", r)
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quoted {
		return nil, badRequest("a quote is not closed")
	}
	end()
	if len(words) > maxWords {
		return nil, badRequest("a line has at most %d words", maxWords)
	}
	return words, nil
}

func (c *command) flag(name string) *flag {
	for i := range c.flags {
		if slices.Contains(c.flags[i].names, name) {
			return &c.flags[i]
		}
	}
	return nil
}

// long is the flag's long name.
func (f *flag) long() string { return f.names[len(f.names)-1] }

func (c *command) parse(words []string) (*call, error) {
	parsed := &call{flags: map[string]string{}}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if !strings.HasPrefix(word, "-") {
			parsed.args = append(parsed.args, word)
			continue
		}
		name, value, given := strings.Cut(word, "=")
		f := c.flag(name)
		switch {
		case f == nil:
			return nil, badRequest("there is no flag %.40q", name)
		case f.value == "" && given:
			return nil, badRequest("%s takes no value", name)
		case f.value != "" && !given:
			if len(words) == 0 {
				return nil, badRequest("%s needs %s", name, f.value)
			}
			value, words = words[0], words[1:]
		}
		if _, twice := parsed.flags[f.long()]; twice {
			return nil, badRequest("%s is given twice", name)
		}
		parsed.flags[f.long()] = value
	}
	if len(parsed.args) < c.least || len(parsed.args) > c.most {
		return nil, badRequest("%d arguments", len(parsed.args))
	}
	return parsed, nil
}

// params turns the flags that are parameters of a view into them.
func (c *call) params(names ...string) views.Params {
	p := views.Params{}
	for _, name := range names {
		if value, ok := c.flags["--"+name]; ok && value != "" {
			p[name] = value
		}
	}
	return p
}

// table says rows, in parts.
func (c *call) table(columns []string, rows [][]string) {
	for first := true; first || len(rows) > 0; first = false {
		n := min(len(rows), rowsOfOne)
		c.say(stream.Chunk{Columns: columns, Rows: rows[:n]})
		rows = rows[n:]
	}
}

func help(_ context.Context, c *call) error {
	if len(c.args) == 1 {
		about, ok := commands[c.args[0]]
		if !ok {
			return badRequest("there is no command %.40q", c.args[0])
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%s\n  %s\n", about.usage, about.short)
		for _, f := range about.flags {
			fmt.Fprintf(&text, "  %-32s %s\n", strings.TrimSpace(strings.Join(f.names, ", ")+" "+f.value), f.short)
		}
		c.say(stream.Chunk{Text: text.String()})
		return nil
	}
	var rows [][]string
	for _, name := range Names() {
		rows = append(rows, []string{commands[name].usage, commands[name].short})
	}
	c.table([]string{"COMMAND", "WHAT IT SAYS"}, rows)
	return nil
}

// Names are the commands.
func Names() []string { return []string{"get", "describe", "logs", "trace", "top", "events", "help"} }
