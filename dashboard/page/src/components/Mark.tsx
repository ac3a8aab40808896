// SPDX-License-Identifier: Apache-2.0

import { shapeOf, toneOf, type Tone } from "../lib/states";
import classes from "./Mark.module.css";

const toneClass: Record<Tone, string | undefined> = {
  good: classes.good,
  busy: classes.busy,
  warn: classes.warn,
  bad: classes.bad,
  idle: classes.idle,
  unknown: classes.unknown,
};

/** A state as shape and colour. It says nothing to a screen reader: a word stands beside it. */
export function Mark({ tone, size = 12 }: { tone: Tone; size?: number }) {
  return (
    <svg className={`${classes.mark ?? ""} ${toneClass[tone] ?? ""}`} width={size} height={size} viewBox="0 0 12 12" aria-hidden="true">
      {drawing(tone)}
    </svg>
  );
}

function drawing(tone: Tone) {
  switch (shapeOf(tone)) {
    case "disc":
      return <circle cx="6" cy="6" r="4.5" fill="currentColor" />;
    case "half":
      return (
        <>
          <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />
          <path d="M6 2a4 4 0 0 1 0 8z" fill="currentColor" />
        </>
      );
    case "triangle":
      return <path d="M6 1.2 11.3 10.6H.7z" fill="currentColor" />;
    case "square":
      return (
        <>
          <rect x="1.2" y="1.2" width="9.6" height="9.6" rx="1.2" fill="currentColor" />
          <path d="M4 4l4 4M8 4l-4 4" stroke="var(--panel)" strokeWidth="1.5" />
        </>
      );
    case "ring":
      return <circle cx="6" cy="6" r="3.8" fill="none" stroke="currentColor" strokeWidth="1.6" />;
    case "dashed":
      return <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.6" strokeDasharray="2.2 2" />;
  }
}

/** A state's mark and its word. */
export function State({ word, tone, children }: { word: string | undefined; tone?: Tone; children?: React.ReactNode }) {
  const t = tone ?? toneOf(word);
  return (
    <span className={classes.state}>
      <Mark tone={t} />
      <span className={`${classes.word ?? ""} ${t === "bad" || t === "warn" ? (toneClass[t] ?? "") : ""}`}>{children ?? word ?? "Unknown"}</span>
    </span>
  );
}
