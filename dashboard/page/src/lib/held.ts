// SPDX-License-Identifier: Apache-2.0

// What a subscription holds, as a pure function: held data and a frame in, held data out. See dashboard/PROTOCOL.md.

import type { Frame, LogLine } from "./contract";

export interface Identified {
  id: string;
}

export type Held =
  | { kind: "list"; seq: number; total: number; all: number; offset: number; rows: readonly Identified[] }
  | { kind: "value"; seq: number; value: Record<string, unknown> }
  | { kind: "lines"; seq: number; lines: readonly KeyedLine[]; lost: number }
  | { kind: "text"; seq: number; text: string; lost: number };

/** A line of a log, with a number that never changes while it is held. */
export interface KeyedLine extends LogLine {
  key: number;
}

/** How much of a stream is kept for the screen. */
export const keptLines = 1_000;
export const keptCharacters = 64 * 1024;

type Data = Extract<Frame, { type: "snapshot" | "delta" | "resumed" | "lines" | "text" }>;

/** The data after a frame; "gap" when frames were lost and the subscription must begin anew. */
export function apply(held: Held | undefined, frame: Data): Held | "gap" {
  switch (frame.type) {
    case "snapshot":
      return snapshot(frame);
    case "resumed":
      return held && held.seq === frame.seq ? held : "gap";
    case "delta":
      return delta(held, frame);
    case "lines": {
      const before = held?.kind === "lines" ? held : undefined;
      if (frame.seq !== (before?.seq ?? 0) + 1) return "gap";
      const from = (before?.lines[before.lines.length - 1]?.key ?? 0) + 1;
      const lines = [...(before?.lines ?? []), ...frame.lines.map((l, i) => ({ ...l, key: from + i }))];
      return { kind: "lines", seq: frame.seq, lines: lines.slice(-keptLines), lost: (before?.lost ?? 0) + (frame.lost ?? 0) };
    }
    case "text": {
      const before = held?.kind === "text" ? held : undefined;
      if (frame.seq !== (before?.seq ?? 0) + 1) return "gap";
      return { kind: "text", seq: frame.seq, text: ((before?.text ?? "") + frame.text).slice(-keptCharacters), lost: (before?.lost ?? 0) + (frame.lost ?? 0) };
    }
  }
}

function snapshot(frame: Extract<Data, { type: "snapshot" }>): Held {
  if (frame.rows === undefined && frame.value !== undefined) return { kind: "value", seq: frame.seq, value: frame.value };
  const rows = frame.rows ?? [];
  const total = frame.total ?? rows.length;
  return { kind: "list", seq: frame.seq, total, all: frame.all ?? total, offset: frame.offset ?? 0, rows };
}

function delta(held: Held | undefined, frame: Extract<Data, { type: "delta" }>): Held | "gap" {
  if (!held || frame.seq !== held.seq + 1) return "gap";
  if (held.kind === "value") return { ...held, seq: frame.seq, value: merge(held.value, frame.set ?? {}) };
  if (held.kind !== "list") return "gap";
  const rows = moved(held.rows, frame);
  if (rows === undefined) return "gap";
  return { ...held, seq: frame.seq, total: frame.total ?? held.total, all: frame.all ?? held.all, rows: changed(rows, frame.changed ?? []) };
}

function moved(rows: readonly Identified[], frame: Extract<Data, { type: "delta" }>): readonly Identified[] | undefined {
  if (!frame.removed?.length && !frame.inserted?.length) return rows;
  const gone = new Map<string, Identified>();
  const leaving = new Set(frame.removed ?? []);
  const out = rows.filter((r) => {
    if (!leaving.has(r.id)) return true;
    gone.set(r.id, r);
    return false;
  });
  for (const { at, row, id } of frame.inserted ?? []) {
    const put = row ?? (id === undefined ? undefined : gone.get(id));
    if (!put || at < 0 || at > out.length) return undefined;
    out.splice(at, 0, put);
  }
  return out;
}

function changed(rows: readonly Identified[], changes: readonly (Identified & Record<string, unknown>)[]): readonly Identified[] {
  if (changes.length === 0) return rows;
  const byID = new Map(changes.map((c) => [c.id, c]));
  return rows.map((r) => {
    const change = byID.get(r.id);
    return change ? (merge(r as unknown as Record<string, unknown>, change) as unknown as Identified) : r;
  });
}

/** Fields of `set` over those of `value`; null removes. */
function merge(value: Record<string, unknown>, set: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries({ ...value, ...set }).filter(([, v]) => v !== null));
}
