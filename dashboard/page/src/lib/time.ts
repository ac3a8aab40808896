// SPDX-License-Identifier: Apache-2.0

// Times and durations for people. Exact times are in the viewer's own zone; the zone can be given for tests.

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string | undefined): Intl.DateTimeFormat {
  const key = zone ?? "";
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat("en-GB", {
      ...(zone ? { timeZone: zone } : {}),
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      fractionalSecondDigits: 3,
      hourCycle: "h23",
      timeZoneName: "shortOffset",
    });
    formats.set(key, found);
  }
  return found;
}

function parts(at: number, zone: string | undefined): Record<string, string> {
  const out: Record<string, string> = {};
  for (const p of format(zone).formatToParts(at)) out[p.type] = p.value;
  return out;
}

/** Milliseconds since 1970 of an RFC 3339 time; undefined for anything else. */
export function parseTime(text: string | undefined | null): number | undefined {
  if (!text || !/^\d{4}-\d\d-\d\dT/.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

/** "2026-11-25 14:03:07.120 GMT+1" */
export function exactTime(at: number, zone?: string): string {
  const p = parts(at, zone);
  return `${p.year}-${p.month}-${p.day} ${p.hour}:${p.minute}:${p.second}.${p.fractionalSecond} ${p.timeZoneName}`;
}

/** "14:03:07", or with the date when it is not of the same day as now: "25 Nov 14:03". */
export function clockTime(at: number, now: number, zone?: string): string {
  const p = parts(at, zone);
  const n = parts(now, zone);
  if (p.year === n.year && p.month === n.month && p.day === n.day) return `${p.hour}:${p.minute}:${p.second}`;
  return `${p.month}-${p.day} ${p.hour}:${p.minute}`;
}

/** How long ago in one unit: "now", "12 s", "5 min", "3 h", "2 d". A time in the future is "in 5 min". */
export function ago(at: number, now: number): string {
  const d = now - at;
  if (Math.abs(d) < 1_000) return "now";
  const text = oneUnit(Math.abs(d));
  return d < 0 ? `in ${text}` : text;
}

function oneUnit(ms: number): string {
  if (ms < 60_000) return `${Math.floor(ms / 1_000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (ms < 2 * 86_400_000) return `${Math.floor(ms / 3_600_000)} h`;
  return `${Math.floor(ms / 86_400_000)} d`;
}

/** A measured duration with two to three digits that mean something: "52 ms", "1.24 s", "3 min 4 s". */
export function duration(ms: number): string {
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1) return `${ms.toFixed(ms === 0 ? 0 : 1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(2)} s`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const s = Math.round(ms / 1_000);
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  const min = Math.round(s / 60);
  if (min < 2 * 24 * 60) return `${Math.floor(min / 60)} h ${min % 60} min`;
  return `${Math.round(min / 60 / 24)} d`;
}
