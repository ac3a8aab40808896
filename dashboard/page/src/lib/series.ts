// SPDX-License-Identifier: Apache-2.0

import type { Series } from "./contract";

/** The newest value that is there. */
export function lastOf(values: readonly (number | null)[] | undefined): number | undefined {
  for (let i = (values?.length ?? 0) - 1; i >= 0; i--) {
    const v = values?.[i];
    if (v !== null && v !== undefined) return v;
  }
  return undefined;
}

/** True when the history has a value of at least one of the names. */
export function hasAny(history: Series | undefined, names: readonly string[]): boolean {
  return names.some((n) => lastOf(history?.series[n]) !== undefined);
}

/** The history with every value of one series changed, for another unit. Absent values stay absent. */
export function scaled(history: Series, name: string, change: (v: number) => number): Series {
  const values = history.series[name];
  return values ? { ...history, series: { ...history.series, [name]: values.map((v) => (v === null ? null : change(v))) } } : history;
}
