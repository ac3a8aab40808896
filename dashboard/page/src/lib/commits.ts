// SPDX-License-Identifier: Apache-2.0

// What a commit's figures mean.

import type { Finding, Stage } from "./contract";

export interface Span {
  name: string;
  count: number;
  /** Milliseconds since the push. */
  p50?: number;
  p95?: number;
  /** Shares of the longest p95, in percent: where the bar begins, its length to p50, and on to p95. */
  from: number;
  length: number;
  tail: number;
}

/** Stages as spans on one time line: a stage's bar begins where the typical one before it ended. */
export function spans(stages: readonly Stage[]): Span[] {
  const longest = Math.max(1, ...stages.map((s) => s.sinceStart?.p95 ?? 0));
  let before = 0;
  return stages
    .filter((s) => s.name !== "pushed")
    .map((s) => {
      const q = s.sinceStart;
      if (!q) return { name: s.name, count: s.count, from: (before / longest) * 100, length: 0, tail: 0 };
      const from = Math.min(before, q.p50);
      before = q.p50;
      return {
        name: s.name,
        count: s.count,
        p50: q.p50,
        p95: q.p95,
        from: (from / longest) * 100,
        length: ((q.p50 - from) / longest) * 100,
        tail: ((q.p95 - q.p50) / longest) * 100,
      };
    });
}

/** "apps/blink/application.yaml:14:3" */
export function place(f: Finding): string {
  if (!f.file) return "";
  return f.file + (f.line ? `:${f.line}` : "") + (f.line && f.column ? `:${f.column}` : "");
}
