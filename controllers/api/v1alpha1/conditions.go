// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types. Their polarity is what kstatus expects.
const (
	// ConditionReady is on every kind; true when the object is as its spec says. Positive polarity.
	ConditionReady = "Ready"
	// ConditionReconciling is true while work goes on and absent otherwise. Negative polarity.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is true when nothing will happen until somebody changes something, and absent otherwise.
	// Negative polarity.
	ConditionStalled = "Stalled"
	// ConditionConnected on a Device is true while a gateway holds a session with it, and Unknown when the gateway
	// that held it has not renewed its Lease. Positive polarity.
	ConditionConnected = "Connected"
	// ConditionInSync on a Device is true when every Instance of it reports what its spec asks for. Positive polarity.
	ConditionInSync = "InSync"
	// ConditionDrifted on a Repository is true for a while after managed objects had been changed by hand and were
	// put back. Negative polarity.
	ConditionDrifted = "Drifted"
)

// Reasons of a Repository's Ready condition. Each says one thing that a person must do something different about.
const (
	// ReasonReconciled: the newest commit is applied.
	ReasonReconciled = "Reconciled"
	// ReasonProgressing: a commit is being fetched, judged or applied.
	ReasonProgressing = "Progressing"
	// ReasonSuspended: spec.suspend is set.
	ReasonSuspended = "Suspended"
	// ReasonAuthenticationFailed: the remote refused the credentials.
	ReasonAuthenticationFailed = "AuthenticationFailed"
	// ReasonRemoteUnreachable: the remote could not be reached in time.
	ReasonRemoteUnreachable = "RemoteUnreachable"
	// ReasonRevisionNotFound: the branch, tag or commit does not exist at the remote.
	ReasonRevisionNotFound = "RevisionNotFound"
	// ReasonInvalidSecret: spec.secretRef names no usable Secret.
	ReasonInvalidSecret = "InvalidSecret"
	// ReasonInvalidSpec: the Repository's own spec cannot be used.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonStorageFailed: the installation's own disk failed or is full.
	ReasonStorageFailed = "StorageFailed"
	// ReasonPruneBlocked: the commit removes more than the brake lets through without a trailer.
	ReasonPruneBlocked = "PruneBlocked"
	// ReasonApplyFailed: the API server refused or failed a write; retried.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonNewerRevision: a newer commit took over before this one was finished.
	ReasonNewerRevision = "NewerRevision"
)

// Reasons of findings, which are also the Ready reasons of a Repository whose newest commit was refused. When a
// commit has findings of several kinds, the first in this order that occurs is the condition's reason.
const (
	ReasonInvalidYAML       = "InvalidYAML"       // a file is not YAML, or exceeds the limits on nesting and aliases
	ReasonKustomizeFailed   = "KustomizeFailed"   // kustomize could not build
	ReasonRemoteBase        = "RemoteBase"        // a kustomization names something outside the commit
	ReasonPathEscape        = "PathEscape"        // a path or symbolic link leads out of the tree
	ReasonTooLarge          = "TooLarge"          // a file, module or build exceeds a limit
	ReasonEmptyBuild        = "EmptyBuild"        // the commit yields no object at all
	ReasonKindNotAllowed    = "KindNotAllowed"    // a kind that git may not bring
	ReasonSchemaInvalid     = "SchemaInvalid"     // an unknown field, a wrong type or value
	ReasonRuleViolated      = "RuleViolated"      // a CEL rule of the schema
	ReasonImmutableChanged  = "ImmutableChanged"  // a field that cannot change, changed
	ReasonDuplicateObject   = "DuplicateObject"   // the same object twice
	ReasonDuplicateKey      = "DuplicateKey"      // one public key on two devices
	ReasonUnknownBoard      = "UnknownBoard"      // no such board in the catalogue
	ReasonUnknownReference  = "UnknownReference"  // a named Gateway or Application that does not exist
	ReasonModuleNotFound    = "ModuleNotFound"    // spec.module.path is no file in the commit
	ReasonModuleInvalid     = "ModuleInvalid"     // the file is not a WebAssembly module that a board accepts
	ReasonDigestMismatch    = "DigestMismatch"    // spec.module.digest is given and is not the file's
	ReasonImportForbidden   = "ImportForbidden"   // an import that no host function offers, or of another signature
	ReasonPermissionMissing = "PermissionMissing" // an import whose permission the Application does not ask for
	ReasonMemoryExceeded    = "MemoryExceeded"    // more memory than spec.limits or a selected board gives
	ReasonSelectsNothing    = "SelectsNothing"    // a selector that matches no device: a warning
)

// Reasons of a Device's conditions.
const (
	ReasonConnected     = "Connected"
	ReasonDisconnected  = "Disconnected"
	ReasonNeverSeen     = "NeverSeen"
	ReasonGatewayLost   = "GatewayLost"
	ReasonNoGateway     = "NoGateway"
	ReasonPoweredOff    = "PoweredOff"
	ReasonQuarantined   = "Quarantined"
	ReasonInSync        = "InSync"
	ReasonOutOfSync     = "OutOfSync"
	ReasonInstanceFails = "InstanceFailed"
	ReasonBackendFailed = "BackendFailed"
	ReasonOnline        = "Online"
)

// Reasons of an Application's and an Instance's conditions.
const (
	ReasonRolledOut                = "RolledOut"
	ReasonRollingOut               = "RollingOut"
	ReasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
	ReasonWaveFailed               = "WaveFailed"
	ReasonDoesNotFit               = "DoesNotFit"
	ReasonPending                  = "Pending"
	ReasonDelivering               = "Delivering"
	ReasonRunning                  = "Running"
	ReasonCompleted                = "Completed"
	ReasonFailed                   = "Failed"
	ReasonRolledBack               = "RolledBack"
	ReasonDeviceOffline            = "DeviceOffline"
	ReasonUnknown                  = "Unknown"
)

// Reasons of a Gateway's conditions.
const (
	ReasonServing      = "Serving"
	ReasonLeaseExpired = "LeaseExpired"
	ReasonStarting     = "Starting"
	ReasonProcessFails = "ProcessFailed"
	ReasonNoIdentity   = "NoIdentity"
)
