// SPDX-License-Identifier: Apache-2.0

// Text of terminals and consoles, as pure functions.

import { visible } from "./links";

/**
 * What a terminal would show of a console's output: escape sequences are left out, lines end at "\n", a carriage return
 * and a backspace are obeyed. No character of the output can change anything outside of its line.
 */
export function terminalText(raw: string): string {
  const plain = raw.replace(/\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\^_])/g, "");
  return plain.replaceAll("\r\n", "\n").split("\n").map(oneLine).join("\n");
}

function oneLine(line: string): string {
  if (!/[\r\b]/.test(line)) return visible(line.replaceAll("\t", "    "));
  const out: string[] = [];
  let at = 0;
  for (const c of line) {
    if (c === "\r") at = 0;
    else if (c === "\b") at = Math.max(0, at - 1);
    else out[at++] = c;
  }
  return visible(out.join("").replaceAll("\t", "    "));
}

/** Rows under their titles, in columns that are as wide as their widest cell. */
export function align(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [columns, ...rows].map((r) => r.map(visible));
  const widths = columns.map((_, i) => Math.max(...cells.map((r) => (r[i] ?? "").length)));
  return cells.map((r) => columns.map((_, i) => (i === columns.length - 1 ? (r[i] ?? "") : (r[i] ?? "").padEnd(widths[i] ?? 0))).join("   ").trimEnd()).join("\n");
}

/** What was typed before, and where in it the reader is. */
export interface History {
  lines: readonly string[];
  /** An index of lines, or their number when it is at the line being typed. */
  at: number;
}

const keptLines = 100;

export function remember(history: History, line: string): History {
  const lines = history.lines[history.lines.length - 1] === line ? history.lines : [...history.lines, line].slice(-keptLines);
  return { lines, at: lines.length };
}

/** One step back (-1) or forth (1), and the line that is there. */
export function step(history: History, by: -1 | 1): [History, string] {
  const at = Math.min(history.lines.length, Math.max(0, history.at + by));
  return [{ ...history, at }, history.lines[at] ?? ""];
}

/** The longest beginning that all items share. */
export function commonPrefix(items: readonly string[]): string {
  const [first = "", ...rest] = items;
  let n = first.length;
  for (const r of rest) while (!r.startsWith(first.slice(0, n))) n--;
  return first.slice(0, n);
}

/** The line with `item` in place of what begins at byte `from`. */
export function complete(line: string, from: number, item: string): string {
  const bytes = new TextEncoder().encode(line);
  return new TextDecoder().decode(bytes.slice(0, from)) + item;
}
