// SPDX-License-Identifier: Apache-2.0

import type { ApplicationRow, Counts } from "./contract";
import { compareTones, rowTone, rowWord, toneOf, type Tone } from "./states";

/** A part of a whole. */
export interface Part {
  label: string;
  value: number;
  tone: Tone;
  href?: string;
}

/** How far an application is, as parts of its target. */
export function progress(a: ApplicationRow): Part[] {
  const away = Math.min(a.offline, Math.max(0, a.target - a.running - a.failed));
  const waiting = Math.max(0, a.target - a.running - a.failed - away);
  return [
    { label: "Running", value: a.running, tone: "good" },
    { label: "On the way", value: waiting, tone: "busy" },
    { label: "Failed", value: a.failed, tone: "bad" },
    { label: "Offline", value: away, tone: "warn" },
  ];
}

/** Counts by phase as parts, what is well first. */
export function byPhase(counts: Counts | undefined, href?: (phase: string) => string): Part[] {
  return sorted(Object.entries(counts ?? {}).map(([label, value]) => ({ label, value, tone: toneOf(label), ...(href ? { href: href(label) } : {}) })));
}

/** Counts by row state as parts, what is well first. */
export function byState(counts: Counts | undefined): Part[] {
  return sorted(Object.entries(counts ?? {}).map(([state, value]) => ({ label: rowWord(state, value), value, tone: rowTone(state) })));
}

function sorted(parts: Part[]): Part[] {
  return parts.filter((p) => p.value > 0).sort((a, b) => compareTones(b.tone, a.tone) || a.label.localeCompare(b.label));
}
