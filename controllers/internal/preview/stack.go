// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/util"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
)

const (
	// startTimeout is how long the installation itself may take to be there.
	startTimeout = 2 * time.Minute
	// stopTimeout is how long its processes may take to end.
	stopTimeout = 30 * time.Second
)

// stack is an installation of its own: a process `wasmbed up` on a home in a temporary directory.
type stack struct {
	dir      string // everything of the preview
	home     home.Dir
	process  *exec.Cmd
	ended    chan error
	objects  client.Client
	gateways *gatewayclient.Client
}

// start brings an installation up whose fleet is f. With keep it goes on when this process has ended.
func start(ctx context.Context, program string, f files, keep bool) (s *stack, err error) {
	dir, err := os.MkdirTemp("", "wasmbed-preview-")
	if err != nil {
		return nil, fmt.Errorf("make the preview's directory: %w", err)
	}
	s = &stack{dir: dir, home: home.Dir(filepath.Join(dir, "home")), ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	fleetDir := filepath.Join(dir, "fleet")
	if err := f.write(fleetDir); err != nil {
		return s, err
	}
	base, err := freePortBase()
	if err != nil {
		return s, err
	}
	output, err := os.Create(filepath.Join(dir, "up.out"))
	if err != nil {
		return s, fmt.Errorf("start the preview: %w", err)
	}
	defer func() { _ = output.Close() }()
	s.process = exec.Command(program, "--home", string(s.home), "up", "--fleet", fleetDir, "--port-base", strconv.Itoa(base), "--timeout", "1s")
	s.process.Stdout, s.process.Stderr = output, output
	s.process.SysProcAttr = attributes(keep)
	if err := s.process.Start(); err != nil {
		s.process = nil
		return s, fmt.Errorf("start the preview: %w", err)
	}
	go func() { s.ended <- s.process.Wait() }()
	return s, s.waitUp(ctx, output.Name())
}

// write puts the files below a directory.
func (f files) write(dir string) error {
	for name, content := range f {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return fmt.Errorf("write the preview's fleet: %w", err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			return fmt.Errorf("write the preview's fleet: %w", err)
		}
	}
	return nil
}

func freePortBase() (int, error) {
	for range 100 {
		base, err := home.FreePort()
		if err != nil {
			return 0, err
		}
		ports := home.PortsFrom(base)
		if ports.Check() == nil {
			return base, nil
		}
	}
	return 0, errors.New("no free ports for the preview")
}

// waitUp waits until the installation serves and connects to it. Whether the fleet runs is for the watcher to say.
func (s *stack) waitUp(ctx context.Context, output string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if state, err := s.home.ReadState(); err == nil && state.Settled {
			break
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			said, _ := os.ReadFile(output)
			return fmt.Errorf("the preview's installation did not start: %w: %s", err, said)
		case <-ctx.Done():
			return fmt.Errorf("the preview's installation is not there in time: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.home.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read the preview's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	scheme, err := local.NewScheme()
	if err != nil {
		return err
	}
	if s.objects, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("reach the preview: %w", err)
	}
	for {
		if s.gateways, err = gatewayclient.New(ctx, s.objects); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// followLogs reads the log of all devices into l, from when the gateway is there.
func (s *stack) followLogs(ctx context.Context, l *logs) {
	for ctx.Err() == nil {
		var list v1alpha1.GatewayList
		if err := s.objects.List(ctx, &list); err == nil && len(list.Items) > 0 {
			if body, err := s.gateways.Get(ctx, &list.Items[0], "/v1/logs?follow=1"); err == nil {
				l.follow(body)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// commit is what the fleet repository has now.
func (s *stack) commit() (string, error) {
	repository, err := git.PlainOpen(s.home.FleetRepository())
	if err != nil {
		return "", fmt.Errorf("open the preview's fleet repository: %w", err)
	}
	head, err := repository.Head()
	if err != nil {
		return "", fmt.Errorf("open the preview's fleet repository: %w", err)
	}
	return head.Hash().String(), nil
}

// push commits files as the fleet's whole content and tells the controllers. It returns the commit.
func (s *stack) push(ctx context.Context, f files) (string, error) {
	commit, err := commitFiles(s.home.FleetRepository(), f)
	if err != nil {
		return "", fmt.Errorf("push to the preview: %w", err)
	}
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: local.RepositoryName}}
	changed := repository.DeepCopy()
	changed.Annotations = map[string]string{v1alpha1.AnnotationReconcileAt: time.Now().UTC().Format(time.RFC3339Nano)}
	if err := s.objects.Patch(ctx, changed, client.MergeFrom(repository)); err != nil {
		return "", fmt.Errorf("push to the preview: %w", err)
	}
	return commit, nil
}

// commitFiles adds a commit with these files, and no others, to a bare repository.
func commitFiles(path string, f files) (string, error) {
	bare, err := git.PlainOpen(path)
	if err != nil {
		return "", err
	}
	work := memfs.New()
	repository, err := git.Open(bare.Storer, work)
	if err != nil {
		return "", err
	}
	tree, err := repository.Worktree()
	if err != nil {
		return "", err
	}
	for name, content := range f {
		if err := util.WriteFile(work, name, content, 0o644); err != nil {
			return "", err
		}
	}
	if err := repository.Storer.SetIndex(&index.Index{Version: 2}); err != nil {
		return "", err
	}
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return "", err
	}
	who := &object.Signature{Name: "Wasmbed", Email: "wasmbed@localhost", When: time.Now()}
	message := fmt.Sprintf("The change\n\n%s: %d\n", v1alpha1.TrailerAllowPrune, 1000)
	hash, err := tree.Commit(message, &git.CommitOptions{Author: who, AllowEmptyCommits: true})
	if err != nil {
		return "", err
	}
	return hash.String(), repository.Storer.SetIndex(&index.Index{Version: 2})
}

// stop ends the installation and removes what it kept.
func (s *stack) stop() error {
	if s.process != nil {
		_ = s.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(stopTimeout):
			_ = s.process.Process.Kill()
			<-s.ended
		}
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove the preview: %w", err)
	}
	return nil
}
