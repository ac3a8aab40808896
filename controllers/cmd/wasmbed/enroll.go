// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway"
)

// refusedKey is a key that tried to connect and belongs to no Device.
type refusedKey struct {
	gateway.Refused
	gateway string
}

// tail is the part of a key that tells it from others: the heads of all P-256 keys are the same.
func (k refusedKey) tail() string { return k.Key[max(0, len(k.Key)-16):] }

func newEnrollCommand() *cobra.Command {
	var name, namespace, board string
	var labels map[string]string
	command := &cobra.Command{
		Use:   "enroll [KEY]",
		Short: "List keys that tried to connect and were refused, or write the Device manifest that admits one",
		Long: `Without KEY: lists the keys that tried to connect and were refused.

With KEY (the end of one, as listed): writes the manifest of a Device that admits it. Put it into the fleet's repository,
commit and push.`,
		Example: "  wasmbed enroll\n  wasmbed enroll 6rPzqA== --name pump-7 --namespace plant --board mps2-an385 > devices/pump-7.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			keys, err := refusedKeys(command)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return listKeys(command.OutOrStdout(), keys)
			}
			key, err := pickKey(keys, args[0])
			if err != nil {
				return err
			}
			if b, ok := boards.Get(board); !ok || !b.Provides(string(v1alpha1.BackendHardware)) {
				return fmt.Errorf("--board %q is no hardware of the catalogue; there are: %s", board, strings.Join(hardwareBoards(), " "))
			}
			if name == "" {
				return errors.New("--name is missing: what the device is to be called")
			}
			return writeDevice(command.OutOrStdout(), key, namespace, name, board, labels)
		},
	}
	command.Flags().StringVar(&name, "name", "", "name of the device")
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the device")
	command.Flags().StringVar(&board, "board", "", "board, as in the catalogue")
	command.Flags().StringToStringVar(&labels, "label", nil, "labels of the device, KEY=VALUE")
	return command
}

func hardwareBoards() []string {
	var names []string
	for _, b := range boards.All() {
		if b.Provides(string(v1alpha1.BackendHardware)) {
			names = append(names, b.Name)
		}
	}
	return names
}

// refusedKeys asks every gateway that runs.
func refusedKeys(command *cobra.Command) ([]refusedKey, error) {
	objects, err := readerOf(command)
	if err != nil {
		return nil, err
	}
	g, err := gatewayclient.New(command.Context(), objects)
	if err != nil {
		return nil, err
	}
	var gateways v1alpha1.GatewayList
	if err := objects.List(command.Context(), &gateways); err != nil {
		return nil, fmt.Errorf("list gateways: %w", err)
	}
	var all []refusedKey
	for i := range gateways.Items {
		from := &gateways.Items[i]
		body, err := g.Get(command.Context(), from, "/v1/refused")
		if err != nil {
			return nil, err
		}
		var keys []gateway.Refused
		err = json.NewDecoder(io.LimitReader(body, 4<<20)).Decode(&keys)
		_ = body.Close()
		if err != nil {
			return nil, fmt.Errorf("read the refused keys of gateway %s/%s: %w", from.Namespace, from.Name, err)
		}
		for _, key := range keys {
			all = append(all, refusedKey{key, from.Namespace + "/" + from.Name})
		}
	}
	return all, nil
}

func listKeys(out io.Writer, keys []refusedKey) error {
	if len(keys) == 0 {
		_, err := fmt.Fprintln(out, "No key was refused.")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "KEY\tTRIES\tFIRST\tLAST\tFROM\tGATEWAY\tREASON")
	for _, k := range keys {
		_, _ = fmt.Fprintf(table, "…%s\t%d\t%s\t%s\t%s\t%s\t%s\n", k.tail(), k.Count, k.First.Local().Format(time.DateTime), k.Last.Local().Format(time.DateTime), k.Remote, k.gateway, k.Reason)
	}
	return table.Flush()
}

func pickKey(keys []refusedKey, end string) (refusedKey, error) {
	end = strings.TrimPrefix(end, "…")
	var found []refusedKey
	for _, k := range keys {
		if strings.HasSuffix(k.Key, end) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return refusedKey{}, fmt.Errorf("no refused key ends in %q: list them with `wasmbed enroll`", end)
	case 1:
		return found[0], nil
	default:
		for _, k := range found[1:] {
			if k.Key != found[0].Key {
				return refusedKey{}, fmt.Errorf("%d refused keys end in %q: give more of it", len(found), end)
			}
		}
		return found[0], nil
	}
}

// writeDevice writes the manifest of a Device that admits the key.
func writeDevice(out io.Writer, key refusedKey, namespace, name, board string, labels map[string]string) error {
	metadata := map[string]any{"name": name, "namespace": namespace}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Device", "metadata": metadata,
		"spec": map[string]any{"board": board, "backend": v1alpha1.BackendHardware, "keys": []string{key.Key}},
	})
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	_, err = out.Write(text)
	return err
}
