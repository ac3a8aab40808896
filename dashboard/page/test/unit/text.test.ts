// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from "vitest";

import { place, spans } from "../../src/lib/commits";
import { safeHref, visible } from "../../src/lib/links";
import { compareNames } from "../../src/lib/names";
import { bytes, count, percent, plural, shortDigest } from "../../src/lib/numbers";
import { parseChange, parseSort, formatSort, pathOf, query } from "../../src/lib/paths";
import { lastOf, scaled } from "../../src/lib/series";
import { align, commonPrefix, complete, remember, step, terminalText } from "../../src/lib/terminal";
import { ago, clockTime, duration, exactTime, parseTime } from "../../src/lib/time";

describe("times", () => {
  const at = Date.parse("2026-01-02T03:04:05.678Z");
  test("are exact in the viewer's zone", () => {
    expect(exactTime(at, "UTC")).toBe("2026-01-02 03:04:05.678 GMT+0");
    expect(exactTime(at, "Asia/Kolkata")).toBe("2026-01-02 08:34:05.678 GMT+5:30");
  });
  test("of today are a clock, older ones have the day", () => {
    expect(clockTime(at, at + 3_600_000, "UTC")).toBe("03:04:05");
    expect(clockTime(at, at + 86_400_000, "UTC")).toBe("01-02 03:04");
    expect(clockTime(at, at + 3_600_000, "Pacific/Honolulu")).toBe("17:04:05");
  });
  test.each([
    [0, "now"],
    [1_000, "1 s"],
    [59_999, "59 s"],
    [60_000, "1 min"],
    [3_599_999, "59 min"],
    [47 * 3_600_000, "47 h"],
    [48 * 3_600_000, "2 d"],
    [-90_000, "in 1 min"],
  ])("%d ms before now is %s", (ms, text) => expect(ago(at - ms, at)).toBe(text));
  test.each([
    [0, "0 ms"],
    [0.25, "0.3 ms"],
    [52.4, "52 ms"],
    [1_240, "1.24 s"],
    [12_340, "12.3 s"],
    [184_000, "3 min 4 s"],
    [7_260_000, "2 h 1 min"],
    [3 * 86_400_000, "3 d"],
    [-5, "−5 ms"],
  ])("a duration of %d ms is %s", (ms, text) => expect(duration(ms)).toBe(text));
  test.each([undefined, null, "", "yesterday", "2026-13-45T00:00:00Z", "12"])("%s is no time", (text) => expect(parseTime(text)).toBeUndefined());
});

describe("numbers", () => {
  test.each([
    [0, "0"],
    [999, "999"],
    [10_000, "10,000"],
    [1_234_567, "1,234,567"],
    [-1_000, "-1,000"],
  ])("%d is %s", (n, text) => expect(count(n)).toBe(text));
  test("have their plural", () => expect([plural(1, "device"), plural(2, "device"), plural(3, "more", "more")]).toEqual(["1 device", "2 devices", "3 more"]));
  test("of bytes", () => expect([0, 1023, 1024, 4301, 262_144, 5 * 1024 ** 4].map(bytes)).toEqual(["0 B", "1023 B", "1 KiB", "4.2 KiB", "256 KiB", "5 TiB"]));
  test("in percent never say all or none when it is not so", () => {
    expect(percent(9_999, 10_000)).toBe(99);
    expect(percent(1, 10_000)).toBe(1);
    expect(percent(10_000, 10_000)).toBe(100);
    expect(percent(0, 0)).toBe(0);
  });
  test("of digests are cut", () => expect(shortDigest(`sha256:${"ab".repeat(32)}`)).toBe("sha256:abababababab"));
});

describe("names", () => {
  test.each(["hall-1 hall-2 hall-10 hall-a", "plant/d09 plant/d9 plant/d10 plant/e1", "a a-1 a-1-9 a-1-10 a1 ab", "x0 x00 x01 x1 x1a x01b", " 1 9 10 99999999999999999999 100000000000000000000"])("are sorted as people do: %s", (text) => {
    const want = text.split(" ");
    expect([...want].reverse().sort(compareNames)).toEqual(want);
  });
});

describe("what comes from outside", () => {
  test.each(["http://example.org", "javascript:alert(1)", "https://user:secret@example.org/", "https://", "HTTPS:/x", "https://a b", "data:text/html,x", "file:///etc/passwd", " https://example.org", "https://exa\u0000mple.org"])(
    "%s stays text",
    (text) => expect(safeHref(text)).toBeUndefined(),
  );
  test("an https address is a link", () => expect(safeHref("https://example.org/a?b=c")).toBe("https://example.org/a?b=c"));
  test("cannot reorder or hide what is beside it", () => expect(visible("a\u202Eb\u0007c\u2066\ufeff")).toBe("a␦b␦c␦␦"));
});

describe("addresses of objects", () => {
  test.each([
    ["Device", "plant/a", "/devices/plant/a"],
    ["Gateway", "plant/main", "/gateways/plant/main"],
    ["Application", "p/x", "/applications/p/x"],
    ["Commit", "abc", "/commits/abc"],
    ["Instance", "plant/blink.lab-m3", "/devices/plant/lab-m3"],
    ["Device", "plant/../../x", "/devices/plant/..%2F..%2Fx"],
  ])("%s %s is at %s", (kind, id, path) => expect(pathOf(kind, id)).toBe(path));
  test.each([
    ["Secret", "a/b"],
    ["Device", "noslash"],
    ["Device", "/x"],
    ["constructor", "a/b"],
    ["Instance", "plant/nodot"],
  ])("%s %s has none", (kind, id) => expect(pathOf(kind, id)).toBeUndefined());
  test("changes of a commit", () => {
    expect(parseChange("~Application/plant/thermostat")).toEqual({ what: "changed", kind: "Application", id: "plant/thermostat" });
    expect(parseChange("-Device/plant/x")?.what).toBe("removed");
    expect(parseChange("Device/plant/x")).toBeUndefined();
  });
  test("empty parameters are left out", () => expect(query({ a: "", b: "x", c: undefined, d: 0 })).toEqual({ b: "x", d: 0 }));
  test("sorting", () => {
    expect(parseSort("-since")).toEqual({ by: "since", descending: true });
    expect(formatSort({ by: "name", descending: false })).toBe("name");
  });
});

describe("terminals", () => {
  test("leave escape sequences out and obey carriage return and backspace", () => {
    expect(terminalText("\u001b[31mred\u001b[0m ok\r\nboot 1\rBOOT\nab\bc\u001b]0;title\u0007!")).toBe("red ok\nBOOT 1\nac!");
    expect(terminalText("a\tb")).toBe("a    b");
    expect(terminalText("x\u001b[2J\u009b1my")).toBe("x␦1my");
  });
  test("align columns", () => expect(align(["NAME", "PHASE"], [["hall-a-01", "Online"], ["x", "Off"]])).toBe("NAME        PHASE\nhall-a-01   Online\nx           Off"));
  test("remember lines once, and step through them", () => {
    let h = remember(remember(remember({ lines: [], at: 0 }, "a"), "b"), "b");
    expect(h.lines).toEqual(["a", "b"]);
    let line: string;
    [h, line] = step(h, -1);
    expect(line).toBe("b");
    [h, line] = step(h, -1);
    [h, line] = step(h, -1);
    expect(line).toBe("a");
    [h, line] = step(h, 1);
    [h, line] = step(h, 1);
    expect(line).toBe("");
  });
  test("complete", () => {
    expect(commonPrefix(["devices", "describe"])).toBe("de");
    expect(commonPrefix([])).toBe("");
    expect(complete("get dev", 4, "devices")).toBe("get devices");
    expect(complete("é dev", 3, "devices")).toBe("é devices");
  });
});

describe("commits", () => {
  test("say where a mistake is", () => {
    const f = { severity: "Error", reason: "x", message: "y" };
    expect(place({ ...f, file: "a.yaml", line: 14, column: 3 })).toBe("a.yaml:14:3");
    expect(place({ ...f, file: "a.yaml", line: 0 })).toBe("a.yaml");
    expect(place(f)).toBe("");
  });
  test("stages are spans on one line: each begins where the one before had its median", () => {
    const q = (p50: number, p95: number) => ({ p50, p95, max: p95 });
    const s = spans([
      { name: "pushed", count: 1 },
      { name: "fetched", count: 1, sinceStart: q(50, 50) },
      { name: "issued", count: 4, perInstance: true, sinceStart: q(100, 160) },
      { name: "running", count: 4, perInstance: true, sinceStart: q(150, 200) },
      { name: "later", count: 0 },
    ]);
    expect(s.map((x) => [x.name, x.from, x.length, x.tail])).toEqual([
      ["fetched", 0, 25, 0],
      ["issued", 25, 25, 30],
      ["running", 50, 25, 25],
      ["later", 75, 0, 0],
    ]);
  });
});

describe("histories", () => {
  const h = { start: "2026-01-02T03:04:05Z", step: 60, series: { a: [1, null, 3, null], b: [null, null] } };
  test("know their newest value", () => {
    expect(lastOf(h.series.a)).toBe(3);
    expect(lastOf(h.series.b)).toBeUndefined();
    expect(lastOf(undefined)).toBeUndefined();
  });
  test("keep what is absent absent in another unit", () => expect(scaled(h, "a", (v) => v * 2).series.a).toEqual([2, null, 6, null]));
});
