// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// SystemNamespace is where an installation keeps what belongs to itself: its Repository, certificates and Leases.
const SystemNamespace = "wasmbed-system"

// IdentityNamespace is where the Secrets with the identities of devices are that the installation runs. Who runs them
// reads the Secrets of this namespace and no others.
const IdentityNamespace = "wasmbed-identities"

// Labels.
const (
	// LabelRepositoryName and LabelRepositoryNamespace name the Repository that manages an object. An object that
	// carries them is changed in git only.
	LabelRepositoryName      = Group + "/repository"
	LabelRepositoryNamespace = Group + "/repository-namespace"

	// LabelDevice and LabelApplication are on every Instance.
	LabelDevice      = Group + "/device"
	LabelApplication = Group + "/application"

	// LabelIdentity is on every Secret that holds a key and certificate made by the installation; its value is
	// one of the Identity constants.
	LabelIdentity = Group + "/identity"
	// LabelBackend is on a device's identity Secret: the device's backend, in lower case.
	LabelBackend = Group + "/backend"
)

// Values of LabelIdentity.
const (
	IdentityCA      = "ca"
	IdentityDevice  = "device"
	IdentityGateway = "gateway"
	IdentityClient  = "client"
)

// Annotations.
const (
	// AnnotationRevision is the commit that last changed what git says about an object. On an Instance: the commit
	// of the Application or Device change that its present spec comes from.
	AnnotationRevision = Group + "/revision"
	// AnnotationDigest is the SHA-256, in hexadecimal, of what was applied; equal digests are not written again.
	AnnotationDigest = Group + "/digest"
	// AnnotationSource is where in the commit an object stands: "path:line".
	AnnotationSource = Group + "/source"
	// AnnotationReconcileAt on a Repository asks for a fetch now; any new value counts.
	AnnotationReconcileAt = Group + "/reconcile-at"
	// AnnotationPushed on a Repository is "COMMIT TIME" of the newest push, written by the repository's hook; TIME
	// is RFC 3339 with nanoseconds.
	AnnotationPushed = Group + "/pushed"
	// AnnotationIssuedAt on an Instance is when its present spec was written: RFC 3339 with nanoseconds.
	AnnotationIssuedAt = Group + "/issued-at"
)

// TrailerAllowPrune is the trailer of a commit message that releases the prune brake; its value is the number of
// objects that may go.
const TrailerAllowPrune = "Wasmbed-Allow-Prune"

// FieldManager is the field manager of everything that comes from git.
const FieldManager = "wasmbed-sync"

// Users and groups of client certificates.
const (
	UserControllers = "wasmbed:controllers"
	UserDashboard   = "wasmbed:dashboard"
	UserSimulator   = "wasmbed:simulator"
	UserBoards      = "wasmbed:boards"
	UserHook        = "wasmbed:hook"
	// UserGatewayPrefix is followed by "NAMESPACE:NAME".
	UserGatewayPrefix = "wasmbed:gateway:"
	GroupGateways     = "wasmbed:gateways"
	// GroupBreakGlass may change managed objects by hand; the sync controller puts the change back and says so.
	GroupBreakGlass = "wasmbed:break-glass"
)

// GatewayKey names the gateway namespace/name in a Device's status. Both names together have at most 62 characters, so that
// it fits a label; a longer pair is refused when its manifest is judged.
func GatewayKey(namespace, name string) string { return namespace + "." + name }

// GatewayLease is the name of the Lease in SystemNamespace that the gateway namespace/name renews while it serves.
func GatewayLease(namespace, name string) string { return "gateway-" + GatewayKey(namespace, name) }
