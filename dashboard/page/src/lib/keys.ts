// SPDX-License-Identifier: Apache-2.0

// Keyboard shortcuts as a pure function: what was typed before, one more key, and what it asks for.

export type Command = { kind: "go"; path: string } | { kind: "search" } | { kind: "help" } | { kind: "theme" };

export interface Shortcut {
  keys: string;
  title: string;
  command: Command;
}

export const shortcuts: readonly Shortcut[] = [
  { keys: "/", title: "Search in this view", command: { kind: "search" } },
  { keys: "?", title: "Show the keyboard shortcuts", command: { kind: "help" } },
  { keys: "t", title: "Light or dark", command: { kind: "theme" } },
  { keys: "g o", title: "Overview", command: { kind: "go", path: "/" } },
  { keys: "g c", title: "Commits", command: { kind: "go", path: "/commits" } },
  { keys: "g a", title: "Applications", command: { kind: "go", path: "/applications" } },
  { keys: "g d", title: "Devices", command: { kind: "go", path: "/devices" } },
  { keys: "g g", title: "Gateways", command: { kind: "go", path: "/gateways" } },
  { keys: "g t", title: "Topology", command: { kind: "go", path: "/topology" } },
  { keys: "g e", title: "Events", command: { kind: "go", path: "/events" } },
  { keys: "g x", title: "Terminal", command: { kind: "go", path: "/terminal" } },
  { keys: "g s", title: "Getting started", command: { kind: "go", path: "/start" } },
];

/** How long the second key of a pair may take. */
export const pairMilliseconds = 1_200;

export interface KeyState {
  /** The first key of a pair, and when it was typed. */
  first?: string;
  at?: number;
}

export interface Key {
  key: string;
  /** True when Ctrl, Alt or Meta is held: then it is the browser's. */
  modified: boolean;
  /** True when the focus is in something that takes text. */
  typing: boolean;
}

export function pressed(state: KeyState, key: Key, now: number): [KeyState, Command | undefined] {
  if (key.modified || key.typing) return [{}, undefined];
  const fresh = state.first !== undefined && state.at !== undefined && now - state.at <= pairMilliseconds;
  const text = fresh ? `${state.first ?? ""} ${key.key}` : key.key;
  const exact = shortcuts.find((s) => s.keys === text);
  if (exact) return [{}, exact.command];
  if (shortcuts.some((s) => s.keys.startsWith(`${key.key} `))) return [{ first: key.key, at: now }, undefined];
  return [{}, undefined];
}
