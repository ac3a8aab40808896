// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wasmbed.dev/controllers/internal/scaffold"
	"wasmbed.dev/devices/boards"
)

func newInitCommand() *cobra.Command {
	var o scaffold.Options
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a new fleet repository: a first device of each board, an app with its source, a policy, pipelines for reviews",
		Long: `Make the files of a new fleet repository in DIR, by default the present directory, which may hold other files; nothing is
overwritten. What no flag says is asked for at a terminal.`,
		Example: "  wasmbed init my-fleet\n  wasmbed init --name plant --board sim-m4 --board mps2-an385 --language rust my-fleet",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
				err = askFor(&o, filepath.Base(abs), in, cmd.ErrOrStderr())
			} else {
				err = needed(&o)
			}
			if err != nil {
				return err
			}
			written, err := scaffold.Write(dir, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%d files of fleet %s are in %s. Go on with:

  cd %s && git init -b main && git add -A && git commit -m "The fleet"
  wasmbed validate
  wasmbed up --fleet .
`, len(written), o.Name, dir, dir)
			return err
		},
	}
	cmd.Flags().StringVar(&o.Name, "name", "", "name of the fleet and its namespace")
	cmd.Flags().StringArrayVar(&o.Boards, "board", nil, "board of a first device, again for each: "+strings.Join(boards.Names(), ", "))
	cmd.Flags().StringVar(&o.Language, "language", "", "language of the first app: "+strings.Join(scaffold.Languages(), ", "))
	return cmd
}

// needed says which flags are missing where nobody can be asked.
func needed(o *scaffold.Options) error {
	var missing []string
	for _, f := range []struct {
		flag  string
		given bool
	}{{"--name", o.Name != ""}, {"--board", len(o.Boards) > 0}, {"--language", o.Language != ""}} {
		if !f.given {
			missing = append(missing, f.flag)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("give %s; at a terminal you would be asked", strings.Join(missing, ", "))
	}
	return nil
}

// askFor asks for what no flag says; an empty answer takes what is in brackets.
func askFor(o *scaffold.Options, folder string, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	ask := func(question, fallback string) (string, error) {
		_, _ = fmt.Fprintf(out, "%s [%s]: ", question, fallback)
		if !lines.Scan() {
			return "", errors.Join(errors.New("the questions were not answered, nothing is written"), lines.Err())
		}
		if answer := strings.TrimSpace(lines.Text()); answer != "" {
			return answer, nil
		}
		return fallback, nil
	}
	var err error
	if o.Name == "" {
		if o.Name, err = ask("Name of the fleet, which is its namespace too", folder); err != nil {
			return err
		}
	}
	if len(o.Boards) == 0 {
		answer, err := ask("Boards, of each of which there is a first device; there are "+strings.Join(boards.Names(), ", "), boards.DefaultSimulated)
		if err != nil {
			return err
		}
		o.Boards = strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if o.Language == "" {
		o.Language, err = ask("Language of the first app: "+strings.Join(scaffold.Languages(), ", "), scaffold.Apps[0].Language)
	}
	return err
}
