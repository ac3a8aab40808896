// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { count } from "../lib/numbers";
import type { Part } from "../lib/progress";
import { Mark } from "./Mark";
import classes from "./Shares.module.css";

/** A whole in parts, as one bar. What it says is in `label`, or in the legend beside it. */
export function Bar({ parts, total, label, thin = false }: { parts: readonly Part[]; total?: number; label: string; thin?: boolean }) {
  const whole = Math.max(
    total ?? 0,
    parts.reduce((sum, p) => sum + p.value, 0),
  );
  return (
    <div className={`${classes.bar ?? ""} ${thin ? (classes.thin ?? "") : ""}`} role="img" aria-label={label} title={label}>
      {parts
        .filter((p) => p.value > 0)
        .map((p) => (
          <span key={p.label} className={classes[p.tone]} style={{ flexGrow: p.value, flexBasis: 0, maxWidth: whole > 0 ? `${(p.value / whole) * 100}%` : 0 }} />
        ))}
    </div>
  );
}

/** "12 running, 1 failed" */
export function describe(parts: readonly Part[]): string {
  const there = parts.filter((p) => p.value > 0);
  return there.length === 0 ? "none" : there.map((p) => `${count(p.value)} ${p.label.toLowerCase()}`).join(", ");
}

/** The parts of a whole with their marks and counts. */
export function Legend({ parts }: { parts: readonly Part[] }) {
  return (
    <ul className={classes.legend}>
      {parts
        .filter((p) => p.value > 0)
        .map((p) => (
          <li key={p.label}>
            <Mark tone={p.tone} />
            {p.href ? (
              <Link href={p.href}>
                <b>{count(p.value)}</b> {p.label}
              </Link>
            ) : (
              <span>
                <b>{count(p.value)}</b> {p.label}
              </span>
            )}
          </li>
        ))}
    </ul>
  );
}
