// SPDX-License-Identifier: Apache-2.0

// Command push measures the line: it starts an installation with the example fleet in a temporary home, pushes changes
// of one application one after another, and prints how long each stage took from the push on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
	"wasmbed.dev/controllers/trace"
)

func main() {
	pushes := flag.Int("pushes", 50, "how many commits to push")
	application := flag.String("application", "thermostat", "application of the example fleet that changes")
	boards := flag.Bool("boards", false, "push new modules, for the virtual boards only and to all of them at once; without it, changes of the config for the whole fleet")
	bin := flag.String("bin", "bin", "directory of the built programs")
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *application, *boards, *pushes, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, application string, boards bool, pushes int, out io.Writer) (err error) {
	temp, err := os.MkdirTemp("", "wasmbed-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	program, err := filepath.Abs(filepath.Join(bin, "wasmbed"))
	if err != nil {
		return err
	}
	b := &bench{program: program, home: home.Dir(filepath.Join(temp, "home")), clone: filepath.Join(temp, "clone"), application: application, boards: boards}
	base, err := home.FreePort()
	if err != nil {
		return err
	}
	if err := b.command(ctx, "", program, "--home", string(b.home), "up", "--detach", "--port-base", strconv.Itoa(base)); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, b.command(context.WithoutCancel(ctx), "", program, "--home", string(b.home), "down"))
	}()
	if err := b.command(ctx, "", "git", "clone", "-q", b.home.FleetRepository(), b.clone); err != nil {
		return err
	}
	if b.objects, err = connect(b.home); err != nil {
		return err
	}
	if boards {
		if err := b.selectBoards(ctx); err != nil {
			return err
		}
	}
	var traces []*trace.Trace
	for i := range pushes {
		t, err := b.push(ctx, i)
		if err != nil {
			return fmt.Errorf("push %d: %w", i+1, err)
		}
		traces = append(traces, t)
	}
	return report(out, traces)
}

type bench struct {
	program, clone, application string
	boards                      bool
	home                        home.Dir
	objects                     client.Client
	module                      []byte // as it is committed
}

func (b *bench) command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@localhost", "GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@localhost")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return nil
}

func connect(dir home.Dir) (client.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	scheme, err := local.NewScheme()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

var configKey = regexp.MustCompile(`(?m)^  config:.*$`)

// push changes the application, pushes, and waits until every device runs it.
func (b *bench) push(ctx context.Context, i int) (*trace.Trace, error) {
	change := b.changeConfig
	if b.boards {
		change = b.changeModule
	}
	if err := change(i); err != nil {
		return nil, err
	}
	return b.commit(ctx, "Bench "+strconv.Itoa(i))
}

func (b *bench) file(name string) string { return filepath.Join(b.clone, "apps", b.application, name) }

func (b *bench) changeConfig(i int) error {
	text, err := os.ReadFile(b.file("application.yaml"))
	if err != nil {
		return err
	}
	changed := regexp.MustCompile(`(?m)^    bench: .*\n`).ReplaceAllString(string(text), "")
	if !configKey.MatchString(changed) {
		changed = strings.Replace(changed, "\nspec:\n", "\nspec:\n  config:\n", 1)
	}
	changed = configKey.ReplaceAllString(changed, fmt.Sprintf("  config:\n    bench: %q", strconv.Itoa(i)))
	return os.WriteFile(b.file("application.yaml"), []byte(changed), 0o644)
}

// changeModule adds a custom section with a number to the module: other bytes, the same app.
func (b *bench) changeModule(i int) error {
	if b.module == nil {
		content, err := os.ReadFile(b.file(b.application + ".wasm"))
		if err != nil {
			return err
		}
		b.module = content
	}
	section := fmt.Sprintf("\x05bench%d", i)
	content := append(slices.Clip(b.module), 0, byte(len(section)))
	return os.WriteFile(b.file(b.application+".wasm"), append(content, section...), 0o644)
}

var (
	selector = regexp.MustCompile(`(?m)^  selector:\n(    .*\n)+`)
	rollout  = regexp.MustCompile(`(?m)^  rollout:\n(    .*\n)+`)
)

// selectBoards makes the application one of the virtual boards, rolled out to all of them at once.
func (b *bench) selectBoards(ctx context.Context) error {
	text, err := os.ReadFile(b.file("application.yaml"))
	if err != nil {
		return err
	}
	changed := selector.ReplaceAllString(string(text), "  selector:\n    matchLabels: { site: lab }\n")
	changed = rollout.ReplaceAllString(changed, "") + "  rollout:\n    maxUnavailable: 100%\n"
	if err := os.WriteFile(b.file("application.yaml"), []byte(changed), 0o644); err != nil {
		return err
	}
	_, err = b.commit(ctx, "Boards only")
	return err
}

// commit pushes what has changed and returns its trace when every device runs it.
func (b *bench) commit(ctx context.Context, message string) (*trace.Trace, error) {
	for _, args := range [][]string{{"commit", "-q", "-a", "-m", message}, {"push", "-q", "origin", "HEAD:main"}} {
		if err := b.command(ctx, b.clone, "git", args...); err != nil {
			return nil, err
		}
	}
	head, err := exec.CommandContext(ctx, "git", "-C", b.clone, "rev-parse", "HEAD").Output()
	if err != nil {
		return nil, err
	}
	return b.arrived(ctx, strings.TrimSpace(string(head)))
}

// arrived waits for the end of the rollout and returns the commit's trace.
func (b *bench) arrived(ctx context.Context, commit string) (*trace.Trace, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		application := &v1alpha1.Application{}
		if err := b.objects.Get(ctx, client.ObjectKey{Namespace: "plant", Name: b.application}, application); err != nil {
			return nil, err
		}
		s := application.Status
		if application.Annotations[v1alpha1.AnnotationRevision] == commit && s.ObservedGeneration == application.Generation && s.Running == s.Target &&
			meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %d/%d run: %w", commit, s.Running, s.Target, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	for {
		var repositories v1alpha1.RepositoryList
		var instances v1alpha1.InstanceList
		if err := errors.Join(b.objects.List(ctx, &repositories), b.objects.List(ctx, &instances)); err != nil {
			return nil, err
		}
		// The Repository's status follows the objects a moment later.
		t, err := trace.Of(trace.Input{Repositories: repositories.Items, Instances: instances.Items}, commit)
		if err == nil && t.Outcome == "Applied" && t.Waiting == 0 {
			return t, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// report prints, for each stage, the quantiles over all pushes of when the last device reached it.
func report(out io.Writer, traces []*trace.Trace) error {
	last := map[string][]float64{}
	var names []string
	for _, t := range traces {
		for _, stage := range t.Stages {
			if stage.SinceStart == nil {
				continue
			}
			if !slices.Contains(names, stage.Name) {
				names = append(names, stage.Name)
			}
			last[stage.Name] = append(last[stage.Name], stage.SinceStart.Max)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(table, "%d pushes, milliseconds from the push to the last device\tp50\tp95\tmax\t\n", len(traces))
	for _, name := range names {
		values := last[name]
		slices.Sort(values)
		_, _ = fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t\n", name, rank(values, 0.5), rank(values, 0.95), values[len(values)-1])
	}
	return table.Flush()
}

func rank(sorted []float64, q float64) float64 {
	return sorted[max(0, min(len(sorted)-1, int(q*float64(len(sorted))+0.999999)-1))]
}
