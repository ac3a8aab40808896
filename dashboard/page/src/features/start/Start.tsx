// SPDX-License-Identifier: Apache-2.0

import { Button, Checkbox, CopyButton, SegmentedControl, Select, TextInput, Textarea } from "@mantine/core";
import { useState } from "react";

import { Head } from "../../components/Head";
import { Panel } from "../../components/Panel";
import { boards, permissions } from "../../lib/catalogue";
import type { FacetsValue } from "../../lib/contract";
import { applicationManifest, checkApplication, checkDevice, deviceManifest, gitCommands, manifestPath, type ApplicationForm, type DeviceForm, type KeyValue } from "../../lib/manifest";
import { useValue } from "../../lib/use";
import classes from "./Start.module.css";

const noDevice: DeviceForm = { name: "pump-7", namespace: "plant", board: "sim-m4", backend: "Simulated", publicKey: "", labels: [{ key: "site", value: "yard" }] };
const noApplication: ApplicationForm = { name: "blink", namespace: "plant", module: "apps/blink/blink.wasm", selector: [{ key: "site", value: "yard" }], permissions: ["gpio", "timer"], config: [] };

/** Writes a manifest to copy. This page changes nothing: git does. */
export function Start() {
  const [kind, setKind] = useState<"device" | "application">("device");
  const [device, setDevice] = useState(noDevice);
  const [application, setApplication] = useState(noApplication);
  const complaints = Object.values(kind === "device" ? checkDevice(device) : checkApplication(application));
  const manifest = kind === "device" ? deviceManifest(device) : applicationManifest(application);
  const name = kind === "device" ? device.name : application.name;
  return (
    <>
      <Head title="Getting started">
        <span className="muted">The fleet is a git repository. Write a manifest here, commit it there.</span>
      </Head>
      <div className="columns">
        <Panel title="1. Say what you want">
          <div className={classes.form}>
            <SegmentedControl
              aria-label="Kind of manifest"
              value={kind}
              onChange={(v) => setKind(v)}
              data={[
                { value: "device", label: "A device" },
                { value: "application", label: "An application" },
              ]}
            />
            {kind === "device" ? <DeviceFields form={device} onChange={setDevice} /> : <ApplicationFields form={application} onChange={setApplication} />}
          </div>
        </Panel>
        <div className={classes.out}>
          <Panel title="2. Copy the manifest">
            {complaints.length > 0 ? (
              <p className="muted">It is written when the form is complete.</p>
            ) : (
              <>
                <p className={classes.before}>
                  Save it in your clone of the fleet as <code>{manifestPath(kind, name)}</code>.
                </p>
                <Copyable text={manifest} what="manifest" />
              </>
            )}
          </Panel>
          <Panel title="3. Commit it">
            {complaints.length > 0 ? <p className="muted">Then come the commands.</p> : <Copyable text={gitCommands(kind, name)} what="commands" />}
            <p className={classes.after}>The push says how to follow it, and it appears under Commits at once. A commit with a mistake changes nothing.</p>
          </Panel>
        </div>
      </div>
    </>
  );
}

function Copyable({ text, what }: { text: string; what: string }) {
  return (
    <div className={classes.copyable}>
      <pre tabIndex={0} aria-label={what}>
        {text}
      </pre>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Button size="xs" variant="default" onClick={copy} aria-label={`Copy the ${what}`}>
            {copied ? "Copied" : "Copy"}
          </Button>
        )}
      </CopyButton>
    </div>
  );
}

function useNamespaces(): string[] {
  const loaded = useValue<FacetsValue>("facets", {});
  return loaded.status === "ready" ? Object.keys(loaded.data.namespaces ?? {}) : [];
}

function Names({ form, complaints, onChange }: { form: { name: string; namespace: string }; complaints: { name?: string; namespace?: string }; onChange: (change: { name?: string; namespace?: string }) => void }) {
  const namespaces = useNamespaces();
  return (
    <div className={classes.pair}>
      <TextInput label="Name" value={form.name} error={complaints.name} maxLength={63} onChange={(e) => onChange({ name: e.currentTarget.value })} />
      <TextInput label="Namespace" value={form.namespace} error={complaints.namespace} maxLength={63} list="namespaces" onChange={(e) => onChange({ namespace: e.currentTarget.value })} />
      <datalist id="namespaces">
        {namespaces.map((n) => (
          <option key={n} value={n} />
        ))}
      </datalist>
    </div>
  );
}

function DeviceFields({ form, onChange }: { form: DeviceForm; onChange: (form: DeviceForm) => void }) {
  const complaints = checkDevice(form);
  const set = (change: Partial<DeviceForm>) => onChange({ ...form, ...change });
  const backends = boards.find((b) => b.name === form.board)?.backends ?? [];
  return (
    <>
      <Names form={form} complaints={complaints} onChange={set} />
      <Select
        label="Board"
        data={boards.map((b) => ({ value: b.name, label: `${b.name} (${b.title})` }))}
        value={form.board}
        error={complaints.board}
        allowDeselect={false}
        onChange={(board) => {
          const offered = boards.find((b) => b.name === board)?.backends ?? [];
          set({ board: board ?? "", backend: offered.includes(form.backend) ? form.backend : (offered[0] ?? "Simulated") });
        }}
      />
      <Select
        label="Kind"
        description="Simulated devices and virtual boards are run by the installation; hardware connects by itself."
        data={backends.map((b) => ({ value: b, label: b === "QEMU" ? "Virtual board (QEMU)" : b }))}
        value={form.backend}
        allowDeselect={false}
        onChange={(b) => set({ backend: b ?? "Simulated" })}
      />
      {form.backend === "Hardware" && <Textarea label="Public key" description="`wasmbed enroll` lists the keys of boards that tried to connect." value={form.publicKey} error={complaints.publicKey} maxLength={256} autosize minRows={2} onChange={(e) => set({ publicKey: e.currentTarget.value })} />}
      <Pairs title="Labels" hint="Applications select devices by them." pairs={form.labels} error={complaints.labels} onChange={(labels) => set({ labels })} />
    </>
  );
}

function ApplicationFields({ form, onChange }: { form: ApplicationForm; onChange: (form: ApplicationForm) => void }) {
  const complaints = checkApplication(form);
  const set = (change: Partial<ApplicationForm>) => onChange({ ...form, ...change });
  return (
    <>
      <Names form={form} complaints={complaints} onChange={set} />
      <TextInput label="Module" description="A WebAssembly file of the repository; `wasmbed build` makes one from C, Rust or WebAssembly text." value={form.module} error={complaints.module} maxLength={512} onChange={(e) => set({ module: e.currentTarget.value })} />
      <Pairs title="Runs on devices with these labels" hint="Without any: on every device of the namespace." pairs={form.selector} error={complaints.selector} onChange={(selector) => set({ selector })} />
      <Checkbox.Group label="Permissions" description="Groups of host functions. A module that imports more is refused." value={form.permissions} onChange={(p) => set({ permissions: p })}>
        <div className={classes.checks}>
          {permissions.map((p) => (
            <Checkbox key={p} value={p} label={p} />
          ))}
        </div>
      </Checkbox.Group>
      <Pairs title="Config" hint="What the app reads by key." pairs={form.config} error={complaints.config} onChange={(config) => set({ config })} />
    </>
  );
}

function Pairs({ title, hint, pairs, error, onChange }: { title: string; hint: string; pairs: KeyValue[]; error: string | undefined; onChange: (pairs: KeyValue[]) => void }) {
  const change = (at: number, part: Partial<KeyValue>) => onChange(pairs.map((p, i) => (i === at ? { ...p, ...part } : p)));
  return (
    <fieldset className={classes.pairs}>
      <legend>{title}</legend>
      <p className="muted">{hint}</p>
      {pairs.map((p, i) => (
        <div key={i} className={classes.row}>
          <TextInput aria-label={`${title}: key ${i + 1}`} placeholder="key" value={p.key} maxLength={317} onChange={(e) => change(i, { key: e.currentTarget.value })} />
          <TextInput aria-label={`${title}: value ${i + 1}`} placeholder="value" value={p.value} maxLength={1024} onChange={(e) => change(i, { value: e.currentTarget.value })} />
          <Button variant="default" onClick={() => onChange(pairs.filter((_, j) => j !== i))} aria-label={`${title}: remove ${i + 1}`}>
            −
          </Button>
        </div>
      ))}
      {error && (
        <p className={classes.error} role="alert">
          {error}
        </p>
      )}
      <Button size="xs" variant="default" onClick={() => onChange([...pairs, { key: "", value: "" }])} disabled={pairs.length >= 16}>
        Add
      </Button>
    </fieldset>
  );
}
