// SPDX-License-Identifier: Apache-2.0

import { useSyncExternalStore } from "react";

import { ago, exactTime, parseTime } from "../lib/time";

// One clock for all relative times of the page: it ticks once a second, and only while somebody looks at one.
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const l of listeners) l();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer !== undefined) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

// React reads this more than once while it renders: it must not move between two ticks.
function snapshot(): number {
  if (timer === undefined) now = Date.now();
  return now;
}

/** The time now, in seconds' steps. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, snapshot);
}

/** How long ago something was; the exact time in the viewer's zone on hover. */
export function Ago({ at, suffix = "" }: { at: string | undefined; suffix?: string }) {
  const current = useNow();
  const ms = parseTime(at);
  if (ms === undefined) return <span>–</span>;
  const text = ago(ms, current);
  return (
    <time dateTime={at} onPointerEnter={(e) => (e.currentTarget.title = exactTime(ms))}>
      {text}
      {suffix && text !== "now" ? suffix : ""}
    </time>
  );
}
