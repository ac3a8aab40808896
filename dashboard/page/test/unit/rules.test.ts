// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";
import { parse } from "yaml";

import { boards, permissions } from "../../src/lib/catalogue";
import { pairMilliseconds, pressed, shortcuts, type KeyState } from "../../src/lib/keys";
import { applicationManifest, checkApplication, checkDevice, deviceManifest, gitCommands, manifestPath, type ApplicationForm, type DeviceForm } from "../../src/lib/manifest";
import { byPhase, byState, progress } from "../../src/lib/progress";
import { compareTones, conditionTone, rowTone, shapeOf, toneOf, worst, type Tone } from "../../src/lib/states";
import { windowFor } from "../../src/lib/use";

const repository = (path: string) => readFileSync(join(import.meta.dirname, "../../../..", path), "utf8");

describe("states", () => {
  test("a word that is not known is never good", () => {
    for (const w of [undefined, "", "Fine", "toString", "__proto__"]) {
      expect(toneOf(w)).toBe("unknown");
      expect(rowTone(w)).toBe("unknown");
    }
  });
  test("every phase of the API has a tone", () => {
    const phases = [...(repository("controllers/api/v1alpha1/device_types.go") + repository("controllers/api/v1alpha1/instance_types.go")).matchAll(/(?:DevicePhase|InstancePhase) = "(\w+)"/g)].map((m) => m[1]);
    expect(phases.length).toBeGreaterThan(10);
    expect(phases.filter((p) => p !== "Unknown" && toneOf(p) === "unknown")).toEqual([]);
  });
  test("every tone has a shape of its own", () => {
    const tones: Tone[] = ["good", "busy", "warn", "bad", "idle", "unknown"];
    expect(new Set(tones.map(shapeOf)).size).toBe(tones.length);
  });
  test("conditions have their polarity", () => {
    expect(conditionTone("Ready", "True")).toBe("good");
    expect(conditionTone("Ready", "False")).toBe("bad");
    expect(conditionTone("Stalled", "True")).toBe("warn");
    expect(conditionTone("Stalled", "False")).toBe("good");
    expect(conditionTone("Reconciling", "True")).toBe("busy");
    expect(conditionTone("Connected", "Unknown")).toBe("unknown");
  });
  test("what is wrong comes first", () => {
    expect((["good", "busy", "bad", "warn"] as Tone[]).sort(compareTones)).toEqual(["bad", "warn", "busy", "good"]);
    expect(worst([])).toBe("idle");
    expect(worst(["good", "unknown"])).toBe("unknown");
  });
});

describe("progress", () => {
  const app = { id: "p/a", metadata: { namespace: "p", name: "a" }, state: "working" as const, target: 12, updated: 6, running: 3, failed: 1, offline: 2 };
  test("adds up to the target", () => {
    const parts = progress(app);
    expect(parts.map((p) => [p.label, p.value])).toEqual([["Running", 3], ["On the way", 6], ["Failed", 1], ["Offline", 2]]);
    expect(progress({ ...app, offline: 99 }).reduce((s, p) => s + p.value, 0)).toBe(12);
    expect(progress({ ...app, running: 20 }).every((p) => p.value >= 0)).toBe(true);
  });
  test("by phase and by state", () => {
    expect(byPhase({ Offline: 1, Online: 15, Off: 0 }).map((p) => p.label)).toEqual(["Online", "Offline"]);
    expect(byState({ error: 2, ok: 1 }).map((p) => p.tone)).toEqual(["good", "bad"]);
    expect(byState(undefined)).toEqual([]);
    expect([1, 3].map((n) => byState({ warning: n, working: n }).map((p) => p.label))).toEqual([
      ["On the way", "Needs a look"],
      ["On the way", "Need a look"],
    ]);
  });
});

describe("the keyboard", () => {
  const key = (k: string) => ({ key: k, modified: false, typing: false });
  test("one key, and two within a while", () => {
    expect(pressed({}, key("/"), 0)[1]).toEqual({ kind: "search" });
    const [state, none] = pressed({}, key("g"), 0);
    expect(none).toBeUndefined();
    expect(pressed(state, key("d"), 500)[1]).toEqual({ kind: "go", path: "/devices" });
    expect(pressed(state, key("d"), pairMilliseconds + 1)[1]).toBeUndefined();
    expect(pressed(state, key("g"), 500)[1]).toEqual({ kind: "go", path: "/gateways" });
  });
  test("is left alone while somebody types or holds Ctrl", () => {
    const g: KeyState = { first: "g", at: 0 };
    expect(pressed(g, { ...key("d"), typing: true }, 1)).toEqual([{}, undefined]);
    expect(pressed(g, { ...key("d"), modified: true }, 1)).toEqual([{}, undefined]);
  });
  test("no shortcut hides another", () => {
    const keys = shortcuts.map((s) => s.keys);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.filter((k) => keys.some((other) => other.startsWith(`${k} `)))).toEqual([]);
  });
});

describe("manifests", () => {
  const device: DeviceForm = { name: "pump-7", namespace: "plant", board: "sim-m4", backend: "Simulated", publicKey: "", labels: [{ key: "site", value: "on" }, { key: "", value: "" }] };
  const application: ApplicationForm = { name: "blink", namespace: "plant", module: "apps/blink/blink.wasm", selector: [], permissions: ["timer", "gpio"], config: [{ key: "target", value: "21000" }] };
  test("of a device: strings stay strings for every reader of YAML", () => {
    const text = deviceManifest({ ...device, labels: [{ key: "a", value: "on" }, { key: "b", value: "0x1f" }, { key: "c", value: "1e3" }] });
    expect(text).toContain('a: "on"');
    expect(parse(text, { version: "1.1" })).toEqual({
      apiVersion: "wasmbed.dev/v1alpha1",
      kind: "Device",
      metadata: { name: "pump-7", namespace: "plant", labels: { a: "on", b: "0x1f", c: "1e3" } },
      spec: { board: "sim-m4", backend: "Simulated" },
    });
  });
  test("of hardware have its key", () => {
    const key = "A".repeat(122) + "==";
    expect(checkDevice({ ...device, backend: "Hardware" }).publicKey).toBeDefined();
    expect(checkDevice({ ...device, backend: "Hardware", publicKey: key })).toEqual({});
    expect(parse(deviceManifest({ ...device, backend: "Hardware", publicKey: ` ${key}\n` }))).toMatchObject({ spec: { keys: [key] } });
  });
  test("of an application", () => {
    expect(parse(applicationManifest(application))).toMatchObject({ spec: { module: { path: "apps/blink/blink.wasm" }, selector: {}, config: { target: "21000" }, permissions: ["gpio", "timer"] } });
  });
  test("a value cannot become structure", () => {
    const text = applicationManifest({ ...application, config: [{ key: "x", value: 'a"\n  evil: {b: 1}' }] });
    expect(parse(text)).toMatchObject({ spec: { config: { x: 'a"\n  evil: {b: 1}' } } });
  });
  test.each(["", "A", "-a", "a.b", "a".repeat(64), "a b", "a;rm"])("'%s' is no name", (name) => expect(checkDevice({ ...device, name }).name).toBeDefined());
  test.each(["", "/abs.wasm", "a/../b.wasm", "a.txt"])("'%s' is no module", (module) => expect(checkApplication({ ...application, module }).module).toBeDefined());
  test("labels and config are checked", () => {
    expect(checkDevice({ ...device, labels: [{ key: "a b", value: "" }] }).labels).toBeDefined();
    expect(checkDevice({ ...device, labels: [{ key: "a", value: "b c" }] }).labels).toBeDefined();
    expect(checkDevice({ ...device, labels: [{ key: "a", value: "1" }, { key: "a", value: "2" }] }).labels).toContain("twice");
    expect(checkDevice({ ...device, labels: [{ key: "example.org/site", value: "x" }] })).toEqual({});
    expect(checkApplication({ ...application, config: [{ key: "k", value: "é".repeat(600) }] }).config).toContain("1201 bytes");
  });
  test("come with the commands that commit them", () => {
    expect(manifestPath("device", "pump-7")).toBe("devices/pump-7.yaml");
    expect(manifestPath("application", "blink")).toBe("apps/blink/application.yaml");
    expect(gitCommands("device", "pump-7")).toContain('echo "  - pump-7.yaml" >> devices/kustomization.yaml\n');
    expect(gitCommands("application", "blink")).toContain('echo "  - blink/application.yaml" >> apps/kustomization.yaml\n');
  });
  test("nothing is committed that does not pass, and nothing reads the lines that are pasted after it", () => {
    const commands = gitCommands("device", "pump-7");
    expect(commands).toContain("wasmbed validate &&\n");
    expect(commands).not.toContain("cat ");
  });
  test("the form offers the boards and permissions that there are", () => {
    const source = repository("devices/boards/boards.go");
    const names = [...source.matchAll(/^\tmps2\("(\w+)"/gm)].map((m) => `mps2-${m[1] ?? ""}`);
    names.push(/DefaultSimulated = "([\w-]+)"/.exec(source)?.[1] ?? "");
    expect(boards.map((b) => b.name)).toEqual(names.sort());
    const everything = /everything = \[\]string\{([^}]*)\}/.exec(source)?.[1]?.match(/\w+/g);
    expect(permissions).toEqual(everything);
  });
});

describe("the window of a long list", () => {
  test("holds what is on the screen, and moves in steps", () => {
    for (let first = 0; first < 2_000; first += 7) {
      const { offset, limit } = windowFor(first, first + 40);
      expect(offset).toBeLessThanOrEqual(first);
      expect(offset + limit).toBeGreaterThan(first + 40);
      expect(offset % 100).toBe(0);
      expect(limit).toBeLessThanOrEqual(500);
    }
    expect(windowFor(0, 20)).toEqual(windowFor(10, 30));
  });
});
