// SPDX-License-Identifier: Apache-2.0

// What a word of the API means to a person: a tone (the colour), a shape (for those who do not see the colour) and
// how urgent it is. Every view judges with this table and with nothing else.

export type Tone = "good" | "busy" | "warn" | "bad" | "idle" | "unknown";
export type Shape = "disc" | "half" | "triangle" | "square" | "ring" | "dashed";

const shapes: Record<Tone, Shape> = {
  good: "disc",
  busy: "half",
  warn: "triangle",
  bad: "square",
  idle: "ring",
  unknown: "dashed",
};

export function shapeOf(tone: Tone): Shape {
  return shapes[tone];
}

const words: Record<string, Tone> = {
  // Devices
  Online: "good",
  Pending: "busy",
  Offline: "warn",
  Off: "idle",
  Quarantined: "warn",
  Unknown: "unknown",
  // Instances
  Delivering: "busy",
  Running: "good",
  Completed: "good",
  Failed: "bad",
  RolledBack: "bad",
  Rejected: "bad",
  // Commits
  Applied: "good",
  Refused: "bad",
  Superseded: "idle",
  InProgress: "busy",
  // Applications
  RolledOut: "good",
  RollingOut: "busy",
  Suspended: "idle",
  // Boards that the installation runs
  Starting: "busy",
  Waiting: "warn",
  Stopped: "idle",
  // Gateways
  Serving: "good",
  // Findings, events
  Error: "bad",
  Warning: "warn",
  Normal: "idle",
  // Levels of logs
  error: "bad",
  warning: "warn",
  info: "idle",
  debug: "idle",
  // Conditions
  True: "good",
  False: "bad",
};

/** The tone of a phase, outcome, severity or level; a word that this page does not know is "unknown", never "good". */
export function toneOf(word: string | undefined): Tone {
  return (word !== undefined && Object.hasOwn(words, word) && words[word]) || "unknown";
}

const negative = new Set(["Reconciling", "Stalled", "Drifted"]);

/** The tone of a condition: some are good when they are True, some when they are not. */
export function conditionTone(type: string, status: string): Tone {
  if (status === "Unknown") return "unknown";
  if (type === "Reconciling") return status === "True" ? "busy" : "good";
  if (negative.has(type)) return status === "True" ? "warn" : "good";
  return status === "True" ? "good" : status === "False" ? "bad" : "unknown";
}

const order: Tone[] = ["bad", "warn", "unknown", "busy", "idle", "good"];

/** Sorts what is wrong before what is well. */
export function compareTones(a: Tone, b: Tone): number {
  return order.indexOf(a) - order.indexOf(b);
}

/** The most urgent of tones; "idle" for none. */
export function worst(tones: readonly Tone[]): Tone {
  return [...tones].sort(compareTones)[0] ?? "idle";
}

const rowTones: Record<string, Tone> = { ok: "good", working: "busy", warning: "warn", error: "bad", off: "idle" };

/** The tone of a row's `state`. */
export function rowTone(state: string | undefined): Tone {
  return (state !== undefined && Object.hasOwn(rowTones, state) && rowTones[state]) || "unknown";
}

const rowWords: Record<string, string> = { ok: "As git says", working: "On the way", warning: "Needs a look", error: "Wrong", off: "Off" };

/** The `state` of one row, or of so many, in words. */
export function rowWord(state: string, n = 1): string {
  if (state === "warning" && n !== 1) return "Need a look";
  return (Object.hasOwn(rowWords, state) && rowWords[state]) || "Unknown";
}
