// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from "vitest";

import { initial, next, stale, wait, type Connection } from "../../src/lib/connection";

const lost = { kind: "closed", reason: "gone", refused: false } as const;

describe("a connection", () => {
  test("that is lost is tried again, and remembers since when", () => {
    let c: Connection = next(initial, { kind: "open" }, 0, 0);
    expect(stale(c)).toBe(false);
    c = next(c, lost, 1_000, 0.5);
    expect(c).toEqual({ state: "waiting", attempt: 0, lostAt: 1_000, retryAt: 1_125, reason: "gone" });
    c = next(c, { kind: "retry" }, 1_125, 0);
    expect(c).toEqual({ state: "connecting", attempt: 1, lostAt: 1_000 });
    expect(stale(c)).toBe(true);
    c = next(c, lost, 2_000, 0.5);
    expect(c).toMatchObject({ state: "waiting", attempt: 1, lostAt: 1_000, retryAt: 2_250 });
    c = next(next(c, { kind: "retry" }, 3_000, 0), { kind: "open" }, 3_100, 0);
    expect(c).toEqual({ state: "live" });
  });
  test("that is refused waits for a person", () => {
    const c = next(initial, { ...lost, refused: true }, 0, 0);
    expect(c).toEqual({ state: "refused" });
    expect(next(c, { kind: "retry" }, 0, 0)).toBe(c);
    expect(stale(c)).toBe(true);
  });
  test("that is live or on its way is not tried again when the network says that it is back", () => {
    const live: Connection = { state: "live" };
    expect(next(live, { kind: "retry" }, 0, 0)).toBe(live);
    expect(next(initial, { kind: "retry" }, 0, 0)).toBe(initial);
  });
  test("the first attempt shows nothing old", () => expect(stale(initial)).toBe(false));
});

describe("the pause between attempts", () => {
  test("doubles, has a ceiling and a floor", () => {
    expect([0, 1, 2, 3, 10, 1_000].map((n) => wait(n, 0.999999))).toEqual([250, 500, 1_000, 2_000, 8_000, 8_000]);
    expect(wait(0, 0)).toBe(100);
  });
});
