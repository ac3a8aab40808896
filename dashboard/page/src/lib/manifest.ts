// SPDX-License-Identifier: Apache-2.0

// Writes manifests for people to copy into their repository. Pure: form in, text and complaints out. The judgement of
// the commit is the sync controller's; what is checked here saves a round trip.

import { stringify } from "yaml";

export interface KeyValue {
  key: string;
  value: string;
}

export interface DeviceForm {
  name: string;
  namespace: string;
  board: string;
  backend: "Simulated" | "QEMU" | "Hardware";
  publicKey: string;
  labels: KeyValue[];
}

export interface ApplicationForm {
  name: string;
  namespace: string;
  module: string;
  selector: KeyValue[];
  permissions: string[];
  config: KeyValue[];
}

/** What is wrong with a form: field → sentence. */
export type Complaints<Form> = Partial<Record<keyof Form, string>>;

const namePattern = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const labelName = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const labelPrefix = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const configBytes = 1024;

function nameComplaint(name: string): string | undefined {
  if (!name) return "Give it a name.";
  if (name.length > 63 || !namePattern.test(name)) return "At most 63 of a–z, 0–9 and '-', not at the ends.";
  return undefined;
}

function labelKeyOK(key: string): boolean {
  const slash = key.indexOf("/");
  if (slash < 0) return labelName.test(key);
  return labelPrefix.test(key.slice(0, slash)) && labelName.test(key.slice(slash + 1));
}

function labelsComplaint(labels: KeyValue[]): string | undefined {
  const seen = new Set<string>();
  for (const { key, value } of labels) {
    if (!key && !value) continue;
    if (!labelKeyOK(key)) return `"${key}" is not a label's key: at most 63 letters, digits, '-', '_' and '.'.`;
    if (value && !labelName.test(value)) return `"${value}" is not a label's value: at most 63 letters, digits, '-', '_' and '.'.`;
    if (seen.has(key)) return `The key "${key}" is there twice.`;
    seen.add(key);
  }
  return undefined;
}

function record(pairs: KeyValue[]): Record<string, string> | undefined {
  const given = pairs.filter((p) => p.key);
  return given.length > 0 ? Object.fromEntries(given.map((p) => [p.key, p.value])) : undefined;
}

export function checkDevice(form: DeviceForm): Complaints<DeviceForm> {
  const out: Complaints<DeviceForm> = {};
  const name = nameComplaint(form.name);
  if (name) out.name = name;
  const namespace = nameComplaint(form.namespace);
  if (namespace) out.namespace = namespace;
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(form.board)) out.board = "Choose a board.";
  const labels = labelsComplaint(form.labels);
  if (labels) out.labels = labels;
  if (form.backend === "Hardware" && !/^[A-Za-z0-9+/]{60,254}={0,2}$/.test(form.publicKey.trim()))
    out.publicKey = "A board connects with its own key: paste what `wasmbed enroll` or openssl prints, one line of base64.";
  return out;
}

export function checkApplication(form: ApplicationForm): Complaints<ApplicationForm> {
  const out: Complaints<ApplicationForm> = {};
  const name = nameComplaint(form.name);
  if (name) out.name = name;
  const namespace = nameComplaint(form.namespace);
  if (namespace) out.namespace = namespace;
  const path = form.module;
  if (!path || path.length > 512 || path.startsWith("/") || path.split("/").includes("..") || !path.endsWith(".wasm"))
    out.module = "The path of a .wasm file in the repository, for example apps/blink/blink.wasm.";
  const selector = labelsComplaint(form.selector);
  if (selector) out.selector = selector;
  const config = configComplaint(form.config);
  if (config) out.config = config;
  return out;
}

function configComplaint(config: KeyValue[]): string | undefined {
  let total = 0;
  const seen = new Set<string>();
  for (const { key, value } of config) {
    if (!key && !value) continue;
    if (key.length < 1 || key.length > 63) return "A key has 1 to 63 characters.";
    if (seen.has(key)) return `The key "${key}" is there twice.`;
    seen.add(key);
    total += new TextEncoder().encode(key + value).length;
  }
  return total > configBytes ? `The config has ${total} bytes; a device takes at most ${configBytes}.` : undefined;
}

function yaml(value: unknown): string {
  return stringify(value, { lineWidth: 0, defaultStringType: "PLAIN", defaultKeyType: "PLAIN", version: "1.1" });
}

export function deviceManifest(form: DeviceForm): string {
  const labels = record(form.labels);
  return yaml({
    apiVersion: "wasmbed.dev/v1alpha1",
    kind: "Device",
    metadata: { name: form.name, namespace: form.namespace, ...(labels ? { labels } : {}) },
    spec: {
      board: form.board,
      backend: form.backend,
      ...(form.backend === "Hardware" ? { keys: [form.publicKey.trim()] } : {}),
    },
  });
}

export function applicationManifest(form: ApplicationForm): string {
  const matchLabels = record(form.selector);
  const config = record(form.config);
  return yaml({
    apiVersion: "wasmbed.dev/v1alpha1",
    kind: "Application",
    metadata: { name: form.name, namespace: form.namespace },
    spec: {
      module: { path: form.module },
      selector: matchLabels ? { matchLabels } : {},
      ...(config ? { config } : {}),
      ...(form.permissions.length > 0 ? { permissions: [...form.permissions].sort() } : {}),
    },
  });
}

/** Where the manifest belongs in the fleet's repository, laid out as the example fleet is, and the folder that lists it. */
function placeOf(kind: "device" | "application", name: string): { folder: string; file: string } {
  return kind === "device" ? { folder: "devices", file: `${name}.yaml` } : { folder: "apps", file: `${name}/application.yaml` };
}

export function manifestPath(kind: "device" | "application", name: string): string {
  const { folder, file } = placeOf(kind, name);
  return `${folder}/${file}`;
}

/**
 * The commands that commit the manifest, once it is saved. They can be pasted at once: nothing reads what comes after
 * it, and what is wrong is not committed. The name was checked: it needs no quotes.
 */
export function gitCommands(kind: "device" | "application", name: string): string {
  const { folder, file } = placeOf(kind, name);
  return [
    `echo "  - ${file}" >> ${folder}/kustomization.yaml`,
    "wasmbed validate &&",
    "  git add -A &&",
    `  git commit -m "Add ${kind} ${name}" &&`,
    "  git push",
  ].join("\n");
}
