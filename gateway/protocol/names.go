// SPDX-License-Identifier: Apache-2.0

package protocol

import "strconv"

// Phase of an app on a device.
type Phase uint32

// Phases.
const (
	PhasePending Phase = iota
	PhaseFetching
	PhaseStarting
	PhaseRunning
	PhaseCompleted
	PhaseFailed
	PhaseRolledBack
	PhaseRejected
)

// Reason why an app is in its phase. A later version may add some.
type Reason uint32

// Reasons.
const (
	ReasonNone Reason = iota
	ReasonModuleInvalid
	ReasonImportUnknown
	ReasonPermissionDenied
	ReasonNoMemory
	ReasonNoStorage
	ReasonDigestMismatch
	ReasonTrapped
	ReasonExited
	ReasonOutOfFuel
	ReasonCrashLoop
	ReasonFetchFailed
	ReasonWatchdog
	ReasonUnsupported
)

// ErrorCode of an Error. A later version may add some.
type ErrorCode uint32

// Error codes.
const (
	CodeProtocol    ErrorCode = 1
	CodeVersion     ErrorCode = 2
	CodeTooLarge    ErrorCode = 3
	CodeNotFound    ErrorCode = 4
	CodeBusy        ErrorCode = 5
	CodeNotAssigned ErrorCode = 6
	CodeQuarantined ErrorCode = 7
	CodeSuperseded  ErrorCode = 8
	CodeInternal    ErrorCode = 9
)

// CrashCode says what kind of fault it was. A later version may add some.
type CrashCode uint32

// Crash codes.
const (
	CrashHardFault     CrashCode = 1
	CrashMemoryFault   CrashCode = 2
	CrashWatchdog      CrashCode = 3
	CrashAssertion     CrashCode = 4
	CrashStackOverflow CrashCode = 5
)

// Metric is the number of a device's metric. A later version may add some.
type Metric uint32

// Metrics.
const (
	MetricHeapUsed               Metric = 1
	MetricHeapHighWater          Metric = 2
	MetricStackHighWater         Metric = 3
	MetricIdlePermille           Metric = 4
	MetricStorageFree            Metric = 5
	MetricBoots                  Metric = 6
	MetricLogDropped             Metric = 7
	MetricTemperatureMillidegree Metric = 8
	MetricLEDMask                Metric = 9
)

// LogLevel of a line.
type LogLevel uint32

// Levels.
const (
	LogDebug LogLevel = iota
	LogInfo
	LogWarning
	LogError
)

var (
	typeNames = []string{1: "hello", "welcome", "desired", "fetch", "chunk", "report", "heartbeat", "log", "release",
		"error", "crash"}
	phaseNames  = []string{"Pending", "Fetching", "Starting", "Running", "Completed", "Failed", "RolledBack", "Rejected"}
	reasonNames = []string{"", "ModuleInvalid", "ImportUnknown", "PermissionDenied", "NoMemory", "NoStorage",
		"DigestMismatch", "Trapped", "Exited", "OutOfFuel", "CrashLoop", "FetchFailed", "Watchdog", "Unsupported"}
	errorNames = []string{1: "protocol", "version", "too-large", "not-found", "busy", "not-assigned", "quarantined",
		"superseded", "internal"}
	crashNames  = []string{1: "hard fault", "memory fault", "watchdog", "assertion", "stack overflow"}
	metricNames = []string{1: "heap_used", "heap_high_water", "stack_high_water", "idle_permille", "storage_free",
		"boots", "log_dropped", "temperature_millidegrees", "led_mask"}
	levelNames = []string{"debug", "info", "warning", "error"}
)

// name is names[n], or other and the number.
func name[N ~uint32](names []string, n N, other string) string {
	if int64(n) < int64(len(names)) && (names[n] != "" || n == 0) {
		return names[n]
	}
	return other + strconv.FormatUint(uint64(n), 10)
}

func (t Type) String() string      { return name(typeNames[:], t, "type-") }
func (p Phase) String() string     { return name(phaseNames, p, "Phase") }
func (c ErrorCode) String() string { return name(errorNames, c, "error-") }
func (c CrashCode) String() string { return name(crashNames, c, "crash ") }
func (l LogLevel) String() string  { return name(levelNames, l, "level-") }

// String is in the words of Kubernetes: "NoMemory"; empty for none.
func (r Reason) String() string { return name(reasonNames, r, "Reason") }

// String is in the words of Prometheus: "heap_used".
func (m Metric) String() string { return name(metricNames, m, "metric_") }
