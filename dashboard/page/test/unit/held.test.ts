// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from "vitest";

import { apply, keptLines, type Held } from "../../src/lib/held";

const list = (rows: { id: string; phase?: string }[], seq = 1): Held => ({ kind: "list", seq, total: rows.length, all: rows.length, offset: 0, rows });
const ids = (h: Held | "gap") => (h !== "gap" && h.kind === "list" ? h.rows.map((r) => r.id).join("") : h);

describe("a list", () => {
  test("begins with a snapshot", () => {
    const h = apply(undefined, { type: "snapshot", id: 1, seq: 1, total: 7, all: 9, offset: 5, rows: [{ id: "f" }, { id: "g" }] });
    expect(h).toEqual({ kind: "list", seq: 1, total: 7, all: 9, offset: 5, rows: [{ id: "f" }, { id: "g" }] });
  });
  test("removes, then inserts, then changes", () => {
    const h = apply(list([{ id: "a" }, { id: "b", phase: "Online" }, { id: "c" }]), {
      type: "delta",
      id: 1,
      seq: 2,
      total: 4,
      removed: ["a", "b"],
      inserted: [
        { at: 1, row: { id: "d" } },
        { at: 0, id: "b" },
      ],
      changed: [{ id: "b", phase: "Offline" }],
    });
    expect(ids(h)).toBe("bcd");
    expect(h).toMatchObject({ seq: 2, total: 4, all: 3, rows: [{ id: "b", phase: "Offline" }, {}, {}] });
  });
  test("null takes a field away; rows that did not change stay the same objects", () => {
    const before = list([{ id: "a", phase: "x" }, { id: "b" }]);
    const after = apply(before, { type: "delta", id: 1, seq: 2, changed: [{ id: "a", phase: null }] });
    expect(after).toMatchObject({ rows: [{ id: "a" }, { id: "b" }] });
    expect(after !== "gap" && after.kind === "list" && "phase" in (after.rows[0] ?? {})).toBe(false);
    expect(after !== "gap" && after.kind === "list" && before.kind === "list" && after.rows[1] === before.rows[1]).toBe(true);
  });
  test.each([
    ["a message is missing", { seq: 3 }],
    ["a message comes twice", { seq: 1 }],
    ["a row is put where the window does not reach", { seq: 2, inserted: [{ at: 9, row: { id: "z" } }] }],
    ["a row that was not there moves", { seq: 2, inserted: [{ at: 0, id: "z" }] }],
  ])("has a gap when %s", (_, frame) => expect(apply(list([{ id: "a" }]), { type: "delta", id: 1, ...frame })).toBe("gap"));
  test("has a gap without a snapshot", () => expect(apply(undefined, { type: "delta", id: 1, seq: 2 })).toBe("gap"));
  test("goes on where it was, or has a gap, after a lost connection", () => {
    const h = list([{ id: "a" }], 17);
    expect(apply(h, { type: "resumed", id: 1, seq: 17 })).toBe(h);
    expect(apply(h, { type: "resumed", id: 1, seq: 16 })).toBe("gap");
    expect(apply(undefined, { type: "resumed", id: 1, seq: 1 })).toBe("gap");
  });
});

test("a value merges top-level fields", () => {
  const h = apply({ kind: "value", seq: 4, value: { a: 1, b: { c: 1, d: 2 }, e: 5 } }, { type: "delta", id: 1, seq: 5, set: { b: { c: 3 }, e: null } });
  expect(h).toEqual({ kind: "value", seq: 5, value: { a: 1, b: { c: 3 } } });
});

describe("a stream", () => {
  test("keeps the newest lines, each with a number that stays", () => {
    let h = apply(undefined, { type: "lines", id: 1, seq: 1, lines: [{ text: "first" }] });
    const many = Array.from({ length: keptLines }, (_, i) => ({ text: String(i) }));
    h = h === "gap" ? h : apply(h, { type: "lines", id: 1, seq: 2, lines: many, lost: 3 });
    expect(h).toMatchObject({ kind: "lines", seq: 2, lost: 3 });
    if (h === "gap" || h.kind !== "lines") throw new Error("no lines");
    expect(h.lines).toHaveLength(keptLines);
    expect(h.lines[0]).toEqual({ text: "0", key: 2 });
  });
  test("has a gap when a message is missing", () => expect(apply(undefined, { type: "lines", id: 1, seq: 2, lines: [] })).toBe("gap"));
  test("of text grows and is bounded", () => {
    const h = apply({ kind: "text", seq: 1, text: "x".repeat(64 * 1024), lost: 1 }, { type: "text", id: 1, seq: 2, text: "end", lost: 2 });
    expect(h).toMatchObject({ kind: "text", lost: 3 });
    expect(h !== "gap" && h.kind === "text" && h.text.length === 64 * 1024 && h.text.endsWith("xend")).toBe(true);
  });
});
