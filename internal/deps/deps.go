package deps

import (
	_ "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	_ "github.com/fluxcd/pkg/ssa"
	_ "github.com/fxamacker/cbor/v2"
	_ "github.com/go-git/go-git/v5"
	_ "github.com/gorilla/websocket"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/tetratelabs/wazero"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/time/rate"
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	_ "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	_ "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	_ "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "k8s.io/client-go/kubernetes"
	_ "sigs.k8s.io/controller-runtime"
	_ "sigs.k8s.io/kustomize/api/krusty"
	_ "sigs.k8s.io/yaml"
	_ "github.com/go-logr/logr"
	_ "golang.org/x/crypto/ssh"
	_ "golang.org/x/crypto/ssh/knownhosts"
	_ "golang.org/x/sys/unix"
	_ "go.yaml.in/yaml/v3"
	_ "k8s.io/cli-runtime/pkg/printers"
)

import (
	_ "github.com/hashicorp/golang-lru/v2"
	_ "github.com/owenrumney/go-sarif/v3/pkg/report"
	_ "k8s.io/apiserver/pkg/cel/environment"
	_ "sigs.k8s.io/kustomize/kyaml/filesys"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/hashicorp/golang-lru/v2/expirable"
)
