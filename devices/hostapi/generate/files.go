// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"wasmbed.dev/devices/hostapi"
)

// files returns the content of every generated file by its path from the repository's root.
func files() map[string]string {
	return map[string]string{
		"firmware/agent/hostapi_table.h": firmwareTable(),
		"apps/include/wasmbed.h":         cHeader(),
		"apps/include/wasmbed.rs":        rustHeader(),
		"devices/hostapi/README.md":      reference(),
	}
}

const (
	licence   = "// SPDX-License-Identifier: Apache-2.0\n"
	generated = "// Generated from devices/hostapi/table.go by `go generate ./devices/hostapi`. Do not edit.\n"
)

type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }

// letters writes a signature as the runtime does: "iF:i".
func letters(f hostapi.Function) string {
	var s strings.Builder
	name := map[byte]byte{hostapi.I32: 'i', hostapi.I64: 'I', hostapi.F32: 'f', hostapi.F64: 'F'}
	for _, p := range f.ParamTypes() {
		s.WriteByte(name[p])
	}
	s.WriteByte(':')
	for _, r := range f.Results {
		s.WriteByte(name[r])
	}
	return s.String()
}

func permissionMacro(p hostapi.Permission) string {
	if p == hostapi.PermissionNone {
		return "HOSTAPI_PERMISSION_NONE"
	}
	return "HOSTAPI_PERMISSION_" + strings.ToUpper(string(p))
}

// codes and limits appear in the headers of both languages.
var codes = []struct {
	name  string
	value hostapi.Code
}{
	{"OK", hostapi.CodeOK}, {"INVALID", hostapi.CodeInvalid}, {"TIMEOUT", hostapi.CodeTimeout},
	{"NOT_FOUND", hostapi.CodeNotFound}, {"BUSY", hostapi.CodeBusy}, {"NO_MEMORY", hostapi.CodeNoMemory},
}

var numbers = []struct {
	name  string
	value int
}{
	{"EVENT_TIMER", hostapi.EventTimer}, {"EVENT_GPIO", hostapi.EventGPIO}, {"EVENT_SENSOR", hostapi.EventSensor},
	{"EVENT_MESSAGE", hostapi.EventMessage},
	{"LOG_DEBUG", hostapi.LogDebug}, {"LOG_INFO", hostapi.LogInfo}, {"LOG_WARNING", hostapi.LogWarning}, {"LOG_ERROR", hostapi.LogError},
	{"CHANNEL_TEMPERATURE", hostapi.ChannelTemperature},
	{"MAX_TIMERS", hostapi.MaxTimers}, {"MAX_EVENTS", hostapi.MaxEvents}, {"MAX_GPIO_CALLBACKS", hostapi.MaxGPIOCallbacks},
	{"MAX_LOG_LINE", hostapi.MaxLogLine}, {"MAX_METRICS", hostapi.MaxMetrics}, {"MAX_METRIC_NAME", hostapi.MaxMetricName},
	{"MAX_CONFIG_KEY", hostapi.MaxConfigKey}, {"MAX_SUBSCRIPTIONS", hostapi.MaxSubscriptions}, {"MAX_TOPIC", hostapi.MaxTopic},
	{"MAX_CONTENT_TYPE", hostapi.MaxContentType}, {"MAX_PAYLOAD", hostapi.MaxPayload},
}

// firmwareTable is the C side of the table, as an X-macro: the including file says what a row becomes.
func firmwareTable() string {
	var t text
	t.WriteString(licence + generated)
	t.line("//")
	t.line("// HOSTAPI_TABLE(X) calls X(name, signature, permission, blocking) for each host function, all of import")
	t.line("// module HOSTAPI_MODULE. The signature is written as wasm_signature writes it; a blocking function suspends")
	t.line("// the app that calls it.")
	t.line("#ifndef HOSTAPI_TABLE_H")
	t.line("#define HOSTAPI_TABLE_H\n")
	t.line("#define HOSTAPI_MODULE %q\n", hostapi.Module)
	t.line("enum hostapi_permission {")
	t.line("\tHOSTAPI_PERMISSION_NONE = 0,")
	for i, p := range hostapi.Permissions() {
		t.line("\t%s = %d,", permissionMacro(p), 1<<i)
	}
	t.line("};\n")
	t.line("// HOSTAPI_PERMISSIONS(X) calls X(name, bit) for each permission, ascending by name.")
	t.line("#define HOSTAPI_PERMISSIONS(X)%s", rows(hostapi.Permissions(), func(p hostapi.Permission) string {
		return fmt.Sprintf("X(%q, %s)", p, permissionMacro(p))
	}))
	t.line("\nenum hostapi_code {")
	for _, c := range codes {
		t.line("\tHOSTAPI_%s = %d,", c.name, c.value)
	}
	t.line("};\n")
	for _, n := range numbers {
		t.line("#define HOSTAPI_%s %d", n.name, n.value)
	}
	t.line("\n#define HOSTAPI_ENTRY_INITIALIZE %q", hostapi.EntryInitialize)
	t.line("#define HOSTAPI_ENTRY_RUN %q\n", hostapi.EntryRun)
	t.line("// HOSTAPI_CALLBACKS(X) calls X(name, event, signature) for each export that the device calls.")
	t.line("#define HOSTAPI_CALLBACKS(X)%s", rows(hostapi.Callbacks(), func(c hostapi.Callback) string {
		return fmt.Sprintf("X(%q, %d, %q)", c.Name, c.Event, strings.Repeat("i", len(c.Params))+":")
	}))
	t.line("\n#define HOSTAPI_TABLE(X)%s", rows(hostapi.Functions(), func(f hostapi.Function) string {
		blocking := 0
		if f.Blocking {
			blocking = 1
		}
		return fmt.Sprintf("X(%s, %q, %s, %d)", f.Name, letters(f), permissionMacro(f.Permission), blocking)
	}))
	t.line("\n#endif")
	return t.String()
}

// rows joins the rows of an X-macro.
func rows[T any](items []T, row func(T) string) string {
	var s strings.Builder
	for _, it := range items {
		s.WriteString(" \\\n\t" + row(it))
	}
	return s.String()
}

func cType(p hostapi.Param) string {
	switch p.Kind {
	case hostapi.Bytes, hostapi.CString:
		return "const char *" + p.Name
	case hostapi.Buffer:
		return "char *" + p.Name
	case hostapi.Int32:
		return "int32_t *" + p.Name
	}
	return cNames[p.Type] + " " + p.Name
}

var cNames = map[byte]string{hostapi.I32: "int32_t", hostapi.I64: "int64_t", hostapi.F32: "float", hostapi.F64: "double"}

// cHeader is what an application in C includes.
func cHeader() string {
	var t text
	t.WriteString(licence + generated)
	t.line("//")
	t.line("// Host functions for applications in C. devices/hostapi/README.md is the reference.")
	t.line("#ifndef WASMBED_H")
	t.line("#define WASMBED_H\n")
	t.line("#include <stdint.h>\n")
	t.line("// WASMBED_EXPORT(name) makes a function visible to the device: run and the callbacks.")
	t.line("#define WASMBED_EXPORT(name) __attribute__((export_name(#name)))")
	t.line("#define WASMBED_IMPORT(name) __attribute__((import_module(%q), import_name(#name)))\n", hostapi.Module)
	t.line("enum {")
	for _, c := range codes {
		t.line("\tWASMBED_%s = %d,", c.name, c.value)
	}
	for _, n := range numbers {
		t.line("\tWASMBED_%s = %d,", n.name, n.value)
	}
	t.line("};\n")
	for _, f := range hostapi.Functions() {
		var params []string
		for _, p := range f.Params {
			params = append(params, cType(p))
		}
		if len(params) == 0 {
			params = []string{"void"}
		}
		t.line("// %s", f.Doc)
		t.line("WASMBED_IMPORT(%s)\n%s %s(%s);\n", f.Name, cNames[f.Results[0]], f.Name, strings.Join(params, ", "))
	}
	t.line("#endif")
	return t.String()
}

var rustNames = map[byte]string{hostapi.I32: "i32", hostapi.I64: "i64", hostapi.F32: "f32", hostapi.F64: "f64"}

func rustType(p hostapi.Param) string {
	name := p.Name
	if name == "type" {
		name = "kind" // a keyword of the language
	}
	switch p.Kind {
	case hostapi.Bytes, hostapi.CString:
		return name + ": *const u8"
	case hostapi.Buffer:
		return name + ": *mut u8"
	case hostapi.Int32:
		return name + ": *mut i32"
	}
	return name + ": " + rustNames[p.Type]
}

// rustHeader is what an application in Rust includes with `include!`.
func rustHeader() string {
	var t text
	t.WriteString(licence + generated)
	t.line("//")
	t.line("// Host functions for applications in Rust: `mod wasmbed { include!(\"…/include/wasmbed.rs\"); }`.")
	t.line("// devices/hostapi/README.md is the reference.\n")
	for _, c := range codes {
		t.line("pub const %s: i32 = %d;", c.name, c.value)
	}
	for _, n := range numbers {
		t.line("pub const %s: i32 = %d;", n.name, n.value)
	}
	t.line("\n#[link(wasm_import_module = %q)]", hostapi.Module)
	t.line("extern \"C\" {")
	for _, f := range hostapi.Functions() {
		var params []string
		for _, p := range f.Params {
			params = append(params, rustType(p))
		}
		t.line("    /// %s", f.Doc)
		t.line("    pub fn %s(%s) -> %s;", f.Name, strings.Join(params, ", "), rustNames[f.Results[0]])
	}
	t.line("}")
	return t.String()
}

// reference is the page for people.
func reference() string {
	var t text
	t.line("# Host functions")
	t.line("\nGenerated from `table.go` by `go generate ./devices/hostapi`; edit the table, not this page.")
	t.WriteString(intro)
	t.line("## Limits\n")
	t.line("| | each app has at most |\n|---|---|")
	t.line("| timers | %d, with ids from 1 |", hostapi.MaxTimers)
	t.line("| queued events | %d; the oldest is dropped |", hostapi.MaxEvents)
	t.line("| watched inputs | %d |", hostapi.MaxGPIOCallbacks)
	t.line("| a line of the log | %d bytes; longer ones are cut |", hostapi.MaxLogLine)
	t.line("| published values | %d, with names of up to %d bytes |", hostapi.MaxMetrics, hostapi.MaxMetricName)
	t.line("| a key of the config | %d bytes |", hostapi.MaxConfigKey)
	t.line("| subscriptions | %d, to topics of up to %d bytes |", hostapi.MaxSubscriptions, hostapi.MaxTopic)
	t.line("| a message | %d bytes of payload, %d of topic, %d of content type |", hostapi.MaxPayload, hostapi.MaxTopic, hostapi.MaxContentType)
	t.line("| messages that wait | what its own buffer holds; the oldest is dropped |\n")
	t.line("## Callbacks\n")
	t.line("| export | event | parameters | |\n|---|---|---|---|")
	for _, c := range hostapi.Callbacks() {
		var names []string
		for _, p := range c.Params {
			names = append(names, p.Name)
		}
		t.line("| `%s` | %d | %s, all i32 | %s |", c.Name, c.Event, strings.Join(names, ", "), c.Doc)
	}
	for _, p := range append([]hostapi.Permission{hostapi.PermissionNone}, hostapi.Permissions()...) {
		functionsOf(&t, p)
	}
	return t.String()
}

func functionsOf(t *text, p hostapi.Permission) {
	title := fmt.Sprintf("permission `%s`", p)
	if p == hostapi.PermissionNone {
		title = "no permission needed"
	}
	t.line("\n## Functions: %s\n", title)
	t.line("| function | type | |\n|---|---|---|")
	for _, f := range hostapi.Functions() {
		if f.Permission != p {
			continue
		}
		var names []string
		for _, q := range f.Params {
			n := q.Name
			if q.Kind != hostapi.Value {
				n += "*"
			}
			names = append(names, n)
		}
		doc := f.Doc
		if f.Blocking {
			doc = "**Blocks.** " + doc
		}
		t.line("| `%s(%s)` | `%s` | %s |", f.Name, strings.Join(names, ", "), f.Signature(), doc)
	}
}

const intro = `
What a device offers to an application, all in import module ` + "`env`" + `. Names that begin with ` + "`ocre_`" + ` follow Project Ocre.
A commit is refused when a module imports anything else, or a function whose permission its Application does not ask
for. ` + "`apps/include`" + ` has declarations for C and Rust.

## Life of an app

1. The device calls ` + "`_initialize`" + ` if the module exports it, then ` + "`run`" + `, which every module exports as ` + "`() -> ()`" + ` or
   ` + "`() -> i32`" + `.
2. When ` + "`run`" + ` returns and a timer runs, an input is watched or a topic is subscribed to, the app stays alive, and the
   device calls the app's callbacks, one at a time, as events come. An app may also stay in ` + "`run`" + ` for good and ask with
   ` + "`ocre_get_event`" + `, sleeping in between.
3. When nothing can call the app any more it has completed. A result of ` + "`run`" + ` other than 0 means that it failed, as
   does a trap. The restart policy of the Application decides what happens then.

Functions that block suspend only the app that calls. Text is UTF-8. A star marks a pointer into the app's memory.

## Messages among the apps of a device

An app needs no allocator to receive: it lends the device a buffer of its own, a static one will do, and the device queues
messages there. So memory of the app bounds what it can be behind, and a flood for one app takes nothing from others.

In the buffer a message takes its payload, and its topic and content type with a zero byte each; both parts are rounded up
to 4 bytes. Payloads begin at multiples of 4 from the buffer's start. When there is no room the messages that have waited
longest are dropped, and the device's log says so. A message stays where it is until the callback returns, or until the
next ` + "`ocre_get_event`" + `; then its room is used again.

    static char inbox[512];

    wasmbed_message_buffer(inbox, sizeof inbox);
    ocre_subscribe_message("hall/"); // hall/temperature and all others that begin so

Codes: 0 done, -1 invalid argument, -2 timeout, -3 not found, -4 busy or there already, -5 no memory.

`
