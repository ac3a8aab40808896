// SPDX-License-Identifier: Apache-2.0

// What the server sends, as dashboard/PROTOCOL.md has it. Fields that the page does not use are left out; whatever may
// be absent is optional.

export type RowState = "ok" | "working" | "warning" | "error" | "off";

export interface Metadata {
  namespace: string;
  name: string;
  labels?: Record<string, string>;
  createdAt?: string;
}

export interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  since?: string;
}

export interface Quantiles {
  p50: number;
  p95: number;
  max: number;
  slowest?: string;
}

export interface Stage {
  name: string;
  perInstance?: boolean;
  count: number;
  first?: string;
  last?: string;
  sinceStart?: Quantiles;
  took?: Quantiles;
}

export interface Finding {
  severity: string;
  reason: string;
  message: string;
  file?: string;
  line?: number;
  column?: number;
  object?: string;
}

export interface CommitRow {
  id: string;
  repository: string;
  commit: string;
  author?: string;
  subject?: string;
  state: RowState;
  outcome: string;
  reason?: string;
  message?: string;
  committedAt?: string;
  pushedAt?: string;
  fetchedAt?: string;
  appliedAt?: string;
  changes?: { created?: number; changed?: number; removed?: number; unchanged?: number };
  changed?: string[];
  instances?: number;
  running?: number;
  failed?: number;
  waiting?: number;
  stages?: Stage[];
  findings?: Finding[];
}

export interface CommitValue extends CommitRow {
  applications?: { name: string; instances: number; running: number; failed: number; waiting: number; toRunning?: Quantiles }[];
  failures?: { device: string; application: string; phase: string; reason?: string; message?: string }[];
  moreFailures?: number;
  deviceStart?: Quantiles;
  modules?: { digest: string; size?: number; path?: string; applications?: string[]; imports?: string[]; memoryBytes?: number }[];
}

export interface RepositoryRow {
  id: string;
  state: RowState;
  ready?: string;
  reason?: string;
  message?: string;
  url?: string;
  branch?: string;
  tag?: string;
  path?: string;
  suspended?: boolean;
  applied?: string;
  fetched?: string;
  subject?: string;
  findings?: Finding[];
}

export interface ApplicationRow {
  id: string;
  metadata: Metadata;
  state: RowState;
  ready?: string;
  reason?: string;
  message?: string;
  module?: { path: string; digest?: string; size?: number };
  revision?: string;
  repository?: string;
  target: number;
  updated: number;
  running: number;
  failed: number;
  offline: number;
  excluded?: number;
  wave?: number;
  rolloutStartedAt?: string;
  suspended?: boolean;
}

export interface Wave {
  wave: number;
  at?: string;
  devices: number;
  running: number;
  failed: number;
  waiting: number;
  lastRunningAt?: string;
}

export interface ApplicationValue extends ApplicationRow {
  source?: string;
  selector?: string;
  config?: Record<string, string>;
  permissions?: string[];
  limits?: { memory?: number; stack?: number; fuel?: number };
  restartPolicy?: string;
  maxUnavailable?: string | number;
  progressDeadlineSeconds?: number;
  conditions?: Condition[];
  phases?: Record<string, number>;
  waves?: Wave[];
  waiting?: number;
}

export interface DeviceRow {
  id: string;
  metadata: Metadata;
  state: RowState;
  phase: string;
  ready?: string;
  reason?: string;
  message?: string;
  board: string;
  backend: string;
  gateway?: string;
  running: number;
  wanted: number;
  connected?: boolean;
  since?: string;
  firmware?: string;
  lastCrash?: string;
  revision?: string;
  repository?: string;
}

export interface InstanceRow {
  id: string;
  application: string;
  device: string;
  state: RowState;
  phase: string;
  reason?: string;
  message?: string;
  restarts?: number;
  digest?: string;
  revision?: string;
  issuedAt?: string;
  deliveredAt?: string;
  runningAt?: string;
  startMilliseconds?: number;
}

export interface LiveApp {
  name: string;
  phase?: string;
  restarts?: number;
  fuel?: number;
  memory?: number;
  stack?: number;
  values?: Record<string, number>;
}

export interface Crash {
  at?: string;
  code: string;
  pc?: number;
  lr?: number;
  address?: number;
  app?: string;
  uptime?: number;
}

export interface DeviceValue extends DeviceRow {
  source?: string;
  power?: string;
  quarantine?: boolean;
  config?: Record<string, Record<string, string>>;
  conditions?: Condition[];
  instances?: InstanceRow[];
  connection?: { gateway?: string; connected?: boolean; since?: string; firmware?: string; board?: string; protocol?: number; memory?: number; boots?: number; lastCrash?: string };
  backendStatus?: { phase?: string; reason?: string; message?: string; lastExit?: string; launches?: number; console?: boolean };
  boardFacts?: {
    title?: string;
    core?: string;
    fpu?: boolean;
    flashBytes?: number;
    ramBytes?: number;
    appMemoryBytes?: number;
    maxApps?: number;
    maxModuleBytes?: number;
    moduleStorageBytes?: number;
    connection?: string;
    permissions?: string[];
  };
  live?: {
    connected?: boolean;
    remote?: string;
    uptime?: number;
    heartbeatAt?: string;
    generation?: number;
    inSync?: boolean;
    bytesIn?: number;
    bytesOut?: number;
    metrics?: Record<string, number>;
    apps?: LiveApp[];
  };
  liveError?: string;
  crashes?: Crash[];
}

export interface GatewayRow {
  id: string;
  metadata: Metadata;
  state: RowState;
  ready?: string;
  reason?: string;
  message?: string;
  address?: string;
  httpAddress?: string;
  endpoints?: string[];
  assigned: number;
  connected: number;
  version?: string;
}

export interface Series {
  start: string;
  step: number;
  series: Record<string, (number | null)[]>;
}

export interface GatewayValue extends GatewayRow {
  conditions?: Condition[];
  limits?: { devices?: number; handshakes?: number; acceptRate?: number; heartbeatSeconds?: number };
  allowedNamespaces?: string[];
  certificate?: { subject?: string; issuer?: string; notBefore?: string; notAfter?: string };
  refused?: { key: string; remote?: string; reason?: string; count: number; last?: string }[];
  history?: Series;
  liveError?: string;
}

export interface ProblemRow {
  id: string;
  state: RowState;
  kind: string;
  count: number;
  objects: string[];
  reason?: string;
  message?: string;
  since?: string;
  cause?: { kind: string; id: string };
}

export type Counts = Record<string, number>;

export interface OverviewValue {
  empty?: boolean;
  sentence: string;
  state: RowState;
  repositories?: RepositoryRow[];
  devices?: { total: number; notReady?: number; phases?: Counts; states?: Counts };
  instances?: { total: number; phases?: Counts };
  applications?: { total: number; states?: Counts };
  gateways?: { total: number; states?: Counts; connected?: number; assigned?: number };
  topApplications?: ApplicationRow[];
  topGateways?: GatewayRow[];
  commits?: CommitRow[];
  problems?: ProblemRow[];
  moreProblems?: number;
}

export interface TopologyGroup {
  name: string;
  count: number;
  states: Counts;
  running?: number;
  wanted?: number;
  devices?: { id: string; state: RowState }[];
}

export interface TopologyValue {
  group: string;
  total: number;
  gateways: { id: string; state?: RowState; assigned?: number; connected?: number; devices: number; groups: TopologyGroup[]; moreGroups?: number }[];
}

export interface FacetsValue {
  phases?: Counts;
  states?: Counts;
  boards?: Counts;
  backends?: Counts;
  gateways?: Counts;
  namespaces?: Counts;
  applications?: Counts;
  labels?: Record<string, Counts>;
}

export interface EventRow {
  id: string;
  time: string;
  source: string;
  type: string;
  reason: string;
  kind: string;
  object: string;
  message?: string;
  who?: string;
  code?: number;
  count?: number;
}

export interface SystemValue {
  start: string;
  step: number;
  cores?: number;
  processes?: { name: string; pid?: number; series: Record<string, (number | null)[]> }[];
  machine?: { series: Record<string, (number | null)[]> };
  dashboard?: { viewers?: number; subscriptions?: number; rows?: number; messages?: number; bytes?: number; dropped?: number };
}

export interface LogLine {
  time?: string;
  device?: string;
  app?: string;
  level?: string;
  text: string;
  uptime?: number;
  dropped?: number;
}

/** What a subscription asks for. */
export type Query = Record<string, string | number>;

interface Identified {
  id: string;
}

/** Frames from the server. */
export type Frame =
  | { type: "hello"; protocol: number; version?: string; server: string; session: string; time?: string; user?: string; synced?: boolean; dropped?: string }
  | { type: "synced" }
  | { type: "beat"; time?: string }
  | { type: "snapshot"; id: number; seq: number; view?: string; total?: number; all?: number; offset?: number; rows?: Identified[]; value?: Record<string, unknown> }
  | {
      type: "delta";
      id: number;
      seq: number;
      total?: number;
      all?: number;
      removed?: string[];
      inserted?: { at: number; row?: Identified; id?: string }[];
      changed?: (Identified & Record<string, unknown>)[];
      set?: Record<string, unknown>;
    }
  | { type: "resumed"; id: number; seq: number }
  | { type: "lines"; id: number; seq: number; lines: LogLine[]; lost?: number }
  | { type: "text"; id: number; seq: number; text: string; lost?: number }
  | { type: "output"; id: number; seq: number; columns?: string[]; rows?: string[][]; text?: string }
  | { type: "done"; id: number; seq?: number; ok?: boolean }
  | { type: "completions"; id: number; from: number; items: string[] }
  | { type: "error"; id?: number; code?: string; message: string; retrying?: boolean };
