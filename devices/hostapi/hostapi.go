// SPDX-License-Identifier: Apache-2.0

// Package hostapi is the table of functions that a device offers to applications. It is the only place where they
// are listed: the judgement of commits, the simulator, the firmware's table, the headers for applications and the
// reference in README.md all come from it.
//
// Names and meanings of the functions that begin with "ocre_" follow Project Ocre, so that applications can be
// carried over; those that begin with "wasmbed_" exist because Ocre has none like them.
package hostapi

import "slices"

//go:generate go run ./generate

// Module is the import module of all host functions.
const Module = "env"

// Value types in the encoding of the WebAssembly binary format.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
	F32 byte = 0x7d
	F64 byte = 0x7c
)

// Permission opens a group of host functions to an application.
type Permission string

// Permissions. The base functions need none.
const (
	PermissionNone      Permission = ""
	PermissionGPIO      Permission = "gpio"
	PermissionLog       Permission = "log"
	PermissionMessaging Permission = "messaging"
	PermissionSensor    Permission = "sensor"
	PermissionTimer     Permission = "timer"
)

// Kind says what a parameter means beyond its value type.
type Kind uint8

// Kinds of parameters. Pointers are offsets in the app's linear memory; an app without one can only use functions
// without pointers. A range outside of the memory yields CodeInvalid.
const (
	Value   Kind = iota // a number
	Bytes               // pointer to bytes that the host reads; the next parameter is their length
	Buffer              // pointer to bytes that the host writes; the next parameter is their length
	CString             // pointer to text that ends with a zero byte
	Int32               // pointer to an i32 that the host writes; 0: not wanted
)

// Param is one parameter of a host function.
type Param struct {
	Name string
	Type byte
	Kind Kind
}

// Function is one row of the table.
type Function struct {
	Module     string
	Name       string
	Params     []Param
	Results    []byte
	Permission Permission
	// Blocking functions suspend the app that calls; others, and the device, go on.
	Blocking bool
	Doc      string
}

// ParamTypes returns the value types of the parameters.
func (f Function) ParamTypes() []byte {
	out := make([]byte, len(f.Params))
	for i, p := range f.Params {
		out[i] = p.Type
	}
	return out
}

// Matches tells whether an import of these types can be linked with the function.
func (f Function) Matches(params, results []byte) bool {
	return slices.Equal(f.ParamTypes(), params) && slices.Equal(f.Results, results)
}

// Signature is the function's type for people: "(i32, i32) -> i32".
func (f Function) Signature() string { return Signature(f.ParamTypes(), f.Results) }

// Code is what a host function returns when it did not do its work.
type Code int32

// Codes. Functions that return a length, a level or a handle return it as a number that is not negative.
const (
	CodeOK       Code = 0
	CodeInvalid  Code = -1 // an argument is out of range
	CodeTimeout  Code = -2
	CodeNotFound Code = -3
	CodeBusy     Code = -4
	CodeNoMemory Code = -5
)

// Types of events and of dispatchers, as in Ocre.
const (
	EventTimer   = 0
	EventGPIO    = 1
	EventSensor  = 2
	EventMessage = 3
)

// Levels of wasmbed_log.
const (
	LogDebug   = 0
	LogInfo    = 1
	LogWarning = 2
	LogError   = 3
)

// Channels of sensors: what is measured, and in which unit.
const (
	ChannelTemperature = 0 // degrees Celsius
)

// What every device gives each app at least, and the simulator and the firmware at most.
const (
	MaxTimers        = 8   // with ids from 1
	MaxEvents        = 16  // queued; the oldest is dropped
	MaxGPIOCallbacks = 8   // pins
	MaxLogLine       = 160 // bytes; longer lines are cut
	MaxMetrics       = 8   // values
	MaxMetricName    = 32  // bytes
	MaxConfigKey     = 63  // bytes
	MaxSubscriptions = 4   // topics
	MaxTopic         = 63  // bytes
	MaxContentType   = 31  // bytes
	MaxPayload       = 512 // bytes of a message
)

// Callback is an export of the app that the device calls for events of one type.
type Callback struct {
	// Name that counts unless the app registers another one for Event.
	Name   string
	Event  int
	Params []Param
	Doc    string
}

// Entry points, in the order in which the device calls them.
const (
	// EntryInitialize is "() -> ()"; called first when it is exported.
	EntryInitialize = "_initialize"
	// EntryRun is "() -> ()" or "() -> i32" and is required.
	EntryRun = "run"
)

var functions = build()

// Functions returns the table, in the order of the reference.
func Functions() []Function { return slices.Clone(functions.list) }

// Lookup finds a function by import module and name.
func Lookup(module, name string) (Function, bool) {
	if module != Module {
		return Function{}, false
	}
	i, ok := functions.byName[name]
	if !ok {
		return Function{}, false
	}
	return functions.list[i], true
}

// Callbacks returns the exports that devices call.
func Callbacks() []Callback { return slices.Clone(callbacks) }

// Permissions returns all permissions, ascending.
func Permissions() []Permission {
	return []Permission{PermissionGPIO, PermissionLog, PermissionMessaging, PermissionSensor, PermissionTimer}
}

// Known tells whether p is a permission.
func Known(p Permission) bool { return slices.Contains(Permissions(), p) }

// TypeName is a value type as in the text format.
func TypeName(t byte) string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	}
	return "?"
}

// Signature writes a function type for people: "(i32, f64) -> i32".
func Signature(params, results []byte) string {
	s := "("
	for i, p := range params {
		if i > 0 {
			s += ", "
		}
		s += TypeName(p)
	}
	s += ")"
	for i, r := range results {
		if i == 0 {
			s += " -> "
		} else {
			s += ", "
		}
		s += TypeName(r)
	}
	return s
}
