// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RepositorySpec says which revision of which git repository the fleet follows.
//
// +kubebuilder:validation:XValidation:rule="(has(self.branch) ? 1 : 0) + (has(self.tag) ? 1 : 0) + (has(self.commit) ? 1 : 0) == 1",message="give exactly one of branch, tag and commit"
type RepositorySpec struct {
	// URL of the repository: https://, http:// (loopback only), ssh:// or file:///absolute/path. Credentials go into secretRef, never here.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^(https?|ssh|file)://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]*@')",message="credentials go into secretRef, not into the url"
	URL string `json:"url"`
	// Branch to follow.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/-]*$`
	Branch string `json:"branch,omitempty"`
	// Tag to follow.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/-]*$`
	Tag string `json:"tag,omitempty"`
	// Commit to stay at: 40 hexadecimal digits.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{40}$`
	Commit string `json:"commit,omitempty"`
	// Path of the directory that holds the root kustomization, relative to the repository's root.
	// +optional
	// +kubebuilder:default="."
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path stays inside the repository"
	Path string `json:"path,omitempty"`
	// Interval between two looks at the remote when nothing notifies.
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s')",message="interval is at least 5s"
	Interval metav1.Duration `json:"interval,omitzero"`
	// Timeout of one fetch.
	// +optional
	// +kubebuilder:default="60s"
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// SecretRef names a Secret in the Repository's namespace: keys `username` and `password` (a token) for https,
	// `identity` (a private key) and `known_hosts` for ssh, `ca.crt` for a private certificate authority.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// Prune removes what a newer commit no longer holds.
	// +optional
	// +kubebuilder:default=true
	Prune *bool `json:"prune,omitempty"`
	// Suspend stops fetching and applying; what runs goes on.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
	// Forge is told of each commit, as statuses wasmbed/sync (is it applied) and wasmbed/rollout (on how many devices it runs).
	// +optional
	Forge *Forge `json:"forge,omitempty"`
	// Webhooks are sent the same as a POST of JSON.
	// +optional
	// +kubebuilder:validation:MaxItems=4
	Webhooks []Webhook `json:"webhooks,omitempty"`
	// Receiver lets a forge say that something was pushed, by POST /hooks/NAMESPACE/NAME; then it is fetched at once.
	// +optional
	Receiver *Receiver `json:"receiver,omitempty"`
}

// ForgeProvider is whose API a forge has.
//
// +kubebuilder:validation:Enum=GitHub;GitLab;Gitea
type ForgeProvider string

// Forges. Forgejo has Gitea's API.
const (
	ForgeGitHub ForgeProvider = "GitHub"
	ForgeGitLab ForgeProvider = "GitLab"
	ForgeGitea  ForgeProvider = "Gitea"
)

// Forge is where a repository is hosted.
type Forge struct {
	Provider ForgeProvider `json:"provider"`
	// URL of the API, https (http to this machine only). When it is empty it follows from the repository's url.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]*@')",message="credentials go into secretRef, not into the url"
	URL string `json:"url,omitempty"`
	// Project as "owner/name". When it is empty it follows from the repository's url.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$`
	Project string `json:"project,omitempty"`
	// SecretRef names a Secret in the Repository's namespace whose key `token` may set statuses of commits.
	SecretRef LocalReference `json:"secretRef"`
}

// Webhook is told of each commit.
type Webhook struct {
	// URL, https (http to this machine only).
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^https?://`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]*@')",message="credentials do not go into the url"
	URL string `json:"url"`
	// SecretRef names a Secret in the Repository's namespace: the body is signed with its key `secret`, by HMAC-SHA-256 in the
	// header X-Wasmbed-Signature-256.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
}

// Receiver takes webhooks.
type Receiver struct {
	// SecretRef names a Secret in the Repository's namespace; its key `secret` is what the forge was given as webhook secret
	// (GitHub, Gitea, Forgejo) or token (GitLab).
	SecretRef LocalReference `json:"secretRef"`
}

// LocalReference names an object of a known kind in the same namespace.
type LocalReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Revision is a commit and when it reached which stage.
type Revision struct {
	// Commit is the full object name: 40 hexadecimal digits.
	Commit string `json:"commit"`
	// Author is "Name <address>", at most 200 characters.
	// +optional
	Author string `json:"author,omitempty"`
	// Subject is the first line of the message, at most 200 characters.
	// +optional
	Subject string `json:"subject,omitempty"`
	// CommittedAt is the commit's own time.
	// +optional
	CommittedAt *metav1.Time `json:"committedAt,omitempty"`
	// PushedAt is when the repository's hook ran; absent when the repository has none.
	// +optional
	PushedAt *metav1.MicroTime `json:"pushedAt,omitempty"`
	// +optional
	FetchedAt *metav1.MicroTime `json:"fetchedAt,omitempty"`
	// CheckedAt is when the judgement on the whole commit was there.
	// +optional
	CheckedAt *metav1.MicroTime `json:"checkedAt,omitempty"`
	// AppliedAt is when the last object was written.
	// +optional
	AppliedAt *metav1.MicroTime `json:"appliedAt,omitempty"`
}

// ObjectCounts counts objects of a revision by kind.
type ObjectCounts struct {
	Devices      int32 `json:"devices"`
	Gateways     int32 `json:"gateways"`
	Applications int32 `json:"applications"`
	// Others counts Namespaces, ConfigMaps and Secrets.
	Others int32 `json:"others"`
}

// ChangeCounts counts what applying a revision wrote.
type ChangeCounts struct {
	Created   int32 `json:"created"`
	Changed   int32 `json:"changed"`
	Removed   int32 `json:"removed"`
	Unchanged int32 `json:"unchanged"`
}

// HistoryEntry is one applied or refused revision.
type HistoryEntry struct {
	Revision `json:",inline"`
	// Outcome is Applied, Refused, Failed or Superseded.
	// +kubebuilder:validation:Enum=Applied;Refused;Failed;Superseded
	Outcome string `json:"outcome"`
	// Reason of the Ready condition for an outcome other than Applied.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message is at most 512 characters.
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	Changes *ChangeCounts `json:"changes,omitempty"`
	// Changed names what was created, changed or removed, as "+Kind/namespace/name", "~…", "-…": the first 20.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Changed []string `json:"changed,omitempty"`
	// Modules are the digests of all modules that the revision uses; the store keeps them.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Modules []string `json:"modules,omitempty"`
}

// Finding is one thing that is wrong with a commit.
type Finding struct {
	// Severity is Error or Warning. One Error refuses the commit.
	// +kubebuilder:validation:Enum=Error;Warning
	Severity string `json:"severity"`
	Reason   string `json:"reason"`
	// Message says what is wrong and what to do; at most 1,024 characters.
	Message string `json:"message"`
	// File is relative to the repository's root.
	// +optional
	File string `json:"file,omitempty"`
	// Line and Column count from 1; 0: not known.
	// +optional
	Line int32 `json:"line,omitempty"`
	// +optional
	Column int32 `json:"column,omitempty"`
	// Object is "Kind namespace/name".
	// +optional
	Object string `json:"object,omitempty"`
}

// RepositoryStatus is what the sync controller reports.
type RepositoryStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// LastHandledReconcileAt is the value of the reconcile-at annotation that was acted on last.
	// +optional
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
	// Fetched is the newest commit at the remote.
	// +optional
	Fetched *Revision `json:"fetched,omitempty"`
	// Applied is the commit that the fleet follows now.
	// +optional
	Applied *Revision `json:"applied,omitempty"`
	// Objects counts what the applied revision holds.
	// +optional
	Objects *ObjectCounts `json:"objects,omitempty"`
	// History has the last ten revisions, newest first.
	// +optional
	// +kubebuilder:validation:MaxItems=10
	History []HistoryEntry `json:"history,omitempty"`
	// Findings on the newest commit: the first 20, errors first.
	// +optional
	// +kubebuilder:validation:MaxItems=20
	Findings []Finding `json:"findings,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Repository is a git repository that the fleet follows. It is created by an administrator, never from git.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=repo,categories=wasmbed
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.applied.commit`
// +kubebuilder:printcolumn:name="Subject",type=string,JSONPath=`.status.applied.subject`
// +kubebuilder:printcolumn:name="Devices",type=integer,JSONPath=`.status.objects.devices`
// +kubebuilder:printcolumn:name="Apps",type=integer,JSONPath=`.status.objects.applications`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="URL",type=string,priority=1,JSONPath=`.spec.url`
type Repository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   RepositorySpec   `json:"spec"`
	Status RepositoryStatus `json:"status,omitempty"`
}

// RepositoryList is a list of Repositories.
//
// +kubebuilder:object:root=true
type RepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Repository `json:"items"`
}
