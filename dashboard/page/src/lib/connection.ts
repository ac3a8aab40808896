// SPDX-License-Identifier: Apache-2.0

// The life of the connection to the server as a pure function: a state and something that happened in, the next state
// out. The socket, the clock and the dice are stream.ts's.

export type Connection =
  /** The first attempt, or the next one right now. */
  | { state: "connecting"; attempt: number; lostAt?: number }
  | { state: "live" }
  /** The connection is lost; the next attempt is at `retryAt`. */
  | { state: "waiting"; attempt: number; lostAt: number; retryAt: number; reason: string }
  /** The server does not know this browser: only a new address with a token helps. */
  | { state: "refused" };

export type Happened =
  | { kind: "open" }
  | { kind: "closed"; reason: string; refused: boolean }
  /** The time of the next attempt has come, or the browser says that the network is back. */
  | { kind: "retry" };

export const initial: Connection = { state: "connecting", attempt: 1 };

const firstWait = 250;
const longestWait = 8_000;

/** How long to wait before attempt n + 1: doubling, with full jitter, never less than a tenth of a second. */
export function wait(attempt: number, random: number): number {
  const ceiling = Math.min(longestWait, firstWait * 2 ** Math.min(attempt, 10));
  return Math.max(100, Math.round(ceiling * random));
}

/** random is in [0, 1). */
export function next(c: Connection, happened: Happened, now: number, random: number): Connection {
  switch (happened.kind) {
    case "open":
      return { state: "live" };
    case "closed": {
      if (happened.refused) return { state: "refused" };
      const attempt = c.state === "live" ? 0 : "attempt" in c ? c.attempt : 0;
      const lostAt = "lostAt" in c ? c.lostAt : now;
      return { state: "waiting", attempt, lostAt, retryAt: now + wait(attempt, random), reason: happened.reason };
    }
    case "retry":
      return c.state === "waiting" ? { state: "connecting", attempt: c.attempt + 1, lostAt: c.lostAt } : c;
  }
}

/** True when what is on the screen may be old. */
export function stale(c: Connection): boolean {
  return c.state === "waiting" || c.state === "refused" || (c.state === "connecting" && c.lostAt !== undefined);
}
