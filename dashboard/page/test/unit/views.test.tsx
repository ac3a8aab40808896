// SPDX-License-Identifier: Apache-2.0

import { MantineProvider } from "@mantine/core";
import { act, cleanup, fireEvent, render, renderHook, screen, waitFor } from "@testing-library/react";
import { Suspense } from "react";
import { describe, expect, test, vi } from "vitest";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";

import { App, Routes } from "../../src/app/App";
import { Guard } from "../../src/components/Guard";
import { firstQuestion } from "../../src/lib/first";
import type { Told } from "../../src/lib/stream";
import { SourceContext, useValue } from "../../src/lib/use";
import { failed, FakeSource, held, list, value } from "./source";

// Charts draw on a canvas, which happy-dom has not; the browser's test has.
vi.mock("uplot", () => ({ default: class { setSize() {} destroy() {} } }));

const hostile = '<img src=x onerror="alert(1)">\u202E';
const shown = '<img src=x onerror="alert(1)">␦';
const metadata = { namespace: "plant", name: "x", labels: { site: hostile } };
const commit = "3f2a".padEnd(40, "0");
const commitRow = {
  id: `s/fleet@${commit}`, repository: "s/fleet", commit, author: "Ada <ada@example.org>", subject: hostile, state: "error", outcome: "Refused", reason: "PermissionMissing", message: "no",
  findings: [{ severity: "Error", reason: "PermissionMissing", message: "add gpio", file: "apps/blink/application.yaml", line: 14 }],
  stages: [{ name: "pushed", count: 1 }, { name: "running", perInstance: true, count: 3, sinceStart: { p50: 621, p95: 685, max: 690 } }],
  changed: ["~Application/plant/thermostat"],
};
const application = { id: "plant/x", metadata, state: "working", reason: "RollingOut", message: hostile, target: 12, updated: 6, running: 3, failed: 1, offline: 0, revision: commit, config: { target: hostile }, waves: [{ wave: 1, devices: 3, running: 3, failed: 0, waiting: 0 }], waiting: 6 };
const device = { id: "plant/x", metadata, state: "error", phase: "Offline", reason: "Disconnected", message: hostile, board: "sim-m4", backend: "QEMU", gateway: "plant/main", running: 1, wanted: 2, lastCrash: hostile, conditions: [{ type: "Ready", status: "False", reason: "Disconnected", message: hostile }], instances: [] };
const gateway = { id: "plant/main", metadata, state: "ok", reason: "Serving", assigned: 16, connected: 15, conditions: [], liveError: hostile };
const event = { id: "e", time: "2026-01-02T03:04:05Z", source: "event", type: "Warning", reason: "WaveFailed", kind: "Application", object: "plant/x", message: hostile };
const history = { start: "2026-01-02T03:04:05Z", step: 60, series: { heap_used: [1, 2048] } };

/** Every view: where it is, what it asks for, what an empty answer is, what a full one is, and a text of each. */
const views: { path: string; view: string; empty: Told; says: RegExp; full: Told; shows: string }[] = [
  { path: "/", view: "overview", empty: value({ empty: true, sentence: "", state: "off" }), says: /fleet is empty/, full: value({ sentence: "1 of 16 devices is offline.", state: "warning", problems: [{ id: "p", state: "error", kind: "Device", count: 1, objects: ["plant/x"], reason: "Disconnected", message: hostile, cause: { kind: "Device", id: "plant/x" } }], topApplications: [application], topGateways: [gateway], commits: [commitRow] }), shows: "1 of 16 devices is offline." },
  { path: "/problems", view: "problems", empty: list([]), says: /Nothing is wrong/, full: list([{ id: "p", state: "error", kind: "Device", count: 12, objects: ["plant/x"], reason: "GatewayLost", message: hostile } as never]), shows: shown },
  { path: "/commits", view: "commits", empty: list([]), says: /No commit has been fetched/, full: list([commitRow]), shows: "apps/blink/application.yaml:14" },
  { path: `/commits/${commit}`, view: "commit", empty: value({}), says: /Nothing is known/, full: value(commitRow), shows: "apps/blink/application.yaml:14" },
  { path: "/applications", view: "applications", empty: list([]), says: /No application yet/, full: list([application]), shows: "plant/x" },
  { path: "/applications/plant/x", view: "application", empty: value({}), says: /no such application/, full: value(application), shows: shown },
  { path: "/devices", view: "devices", empty: list([]), says: /No device yet/, full: list([device]), shows: "plant/x" },
  { path: "/devices/plant/x", view: "device", empty: value({}), says: /no such device/, full: value(device), shows: shown },
  { path: "/devices/plant/x/log", view: "logs", empty: held({ kind: "lines", seq: 1, lines: [], lost: 0 }), says: /Nothing said yet/, full: held({ kind: "lines", seq: 1, lines: [{ key: 1, text: hostile, level: "error" }], lost: 2 }), shows: shown },
  { path: "/devices/plant/x/console", view: "console", empty: held({ kind: "text", seq: 1, text: "", lost: 0 }), says: /Nothing on the console/, full: held({ kind: "text", seq: 1, text: hostile, lost: 0 }), shows: shown },
  { path: "/devices/plant/x/charts", view: "metrics", empty: value({ ...history, series: {} }), says: /No history yet/, full: value(history), shows: "2 KiB" },
  { path: "/devices/plant/x/events", view: "events", empty: list([]), says: /Nothing happened/, full: list([event]), shows: shown },
  { path: "/gateways", view: "gateways", empty: list([]), says: /No gateway yet/, full: list([gateway]), shows: "plant/main" },
  { path: "/gateways/plant/main", view: "gateway", empty: value({}), says: /no such gateway/, full: value(gateway), shows: "15 of 16 devices" },
  { path: "/system", view: "system", empty: value({ start: "", step: 60 }), says: /Nothing measured/, full: value({ start: "2026-01-02T03:04:05Z", step: 60, processes: [{ name: "cluster", pid: 7, series: { cpu_percent: [3.1] } }] }), shows: "cluster" },
  { path: "/topology", view: "topology", empty: value({ group: "label:site", total: 0, gateways: [] }), says: /No gateway and no device/, full: value({ group: "label:site", total: 4, gateways: [{ id: "plant/main", state: "ok", devices: 4, groups: [{ name: "hall-a", count: 4, states: { ok: 4 } }] }] }), shows: "hall-a" },
  { path: "/events", view: "events", empty: list([]), says: /Nothing has happened/, full: list([event]), shows: shown },
];

function show(path: string, source: FakeSource) {
  const { hook, searchHook } = memoryLocation({ path });
  return render(
    <SourceContext value={source}>
      <MantineProvider>
        <Router hook={hook} searchHook={searchHook}>
          <Suspense fallback="…">
            <Routes />
          </Suspense>
        </Router>
      </MantineProvider>
    </SourceContext>,
  );
}

describe("what is asked for before the page is there", () => {
  test.each(["/", "/devices", "/devices?phase=Offline&sort=-since&label=site%3Dhall-a", "/topology", "/topology?group=board"])("is what the view at %s asks for", (path) => {
    const s = new FakeSource(() => undefined);
    show(path, s);
    const question = firstQuestion(new URL(path, "http://localhost"));
    expect(s.asked.map((a) => JSON.stringify(a))).toContain(JSON.stringify(question));
  });
  test("is nothing where it is not known", () => expect(firstQuestion({ pathname: "/events", search: "" })).toBeUndefined());
});

const only = (view: string, told: Told | undefined) => new FakeSource((v) => (v === view ? told : undefined));

describe.each(views)("$path", ({ path, view, empty, says, full, shows }) => {
  test("says that it loads", async () => {
    const source = only(view, undefined);
    show(path, source);
    expect(await screen.findByRole("status", { name: /^Loading/ })).toBeTruthy();
    await waitFor(() => expect(source.asked.map((a) => a.view)).toContain(view));
  });
  test("says why it cannot be shown, and tries again", async () => {
    const source = only(view, failed("the API server is away"));
    show(path, source);
    expect((await screen.findByRole("alert")).textContent).toContain("the API server is away");
    fireEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(source.retries).toBe(1);
  });
  test("says what it means that there is nothing", async () => {
    show(path, only(view, empty));
    expect(await screen.findByText(says)).toBeTruthy();
  });
  test("shows what there is, as text, and goes on showing it while the connection is lost", async () => {
    const source = only(view, full);
    const { container } = show(path, source);
    await waitFor(() => expect(container.textContent).toContain(shows));
    expect(container.querySelector("img")).toBeNull();
    act(() => source.become({ state: "waiting", attempt: 1, lostAt: 0, retryAt: 1, reason: "gone" }));
    expect(container.textContent).toContain(shows);
    expect(container.querySelector("[data-stale]")).not.toBeNull();
  });
});

describe("the page", () => {
  const source = () => new FakeSource(() => undefined);
  test("asks for a token when the server does not know the browser", () => {
    const s = source();
    s.state = { state: "refused" };
    render(<App source={s} />);
    expect(screen.getByLabelText("Token")).toBeTruthy();
    expect(screen.queryByRole("navigation")).toBeNull();
  });
  test("says at once that the connection is lost, and that it heals", () => {
    const s = source();
    render(<App source={s} />);
    expect(screen.queryByRole("alert")).toBeNull();
    act(() => s.become({ state: "waiting", attempt: 1, lostAt: Date.now(), retryAt: 0, reason: "The server does not answer." }));
    expect(screen.getByRole("alert").textContent).toContain("Connection lost");
    act(() => s.become({ state: "live" }));
    expect(screen.queryByRole("alert")).toBeNull();
  });
  test("follows the keyboard", async () => {
    render(<App source={source()} />);
    fireEvent.keyDown(window, { key: "g" });
    fireEvent.keyDown(window, { key: "d" });
    expect((await screen.findByRole("heading", { level: 1 })).textContent).toBe("Devices");
    fireEvent.keyDown(window, { key: "/" });
    expect(document.activeElement).toBe(screen.getByLabelText("Search in devices"));
    cleanup();
  });
});

describe("links in a table", () => {
  const open = () => {
    window.history.pushState(null, "", "/devices");
    render(<App source={only("devices", list([device]))} />);
    return screen.getByRole("link", { name: "plant/x" });
  };
  test("lead to their view without a reload", async () => {
    const link = open();
    expect(fireEvent.click(link)).toBe(false); // the browser's own way is prevented
    expect(location.pathname).toBe("/devices/plant/x");
    expect((await screen.findByRole("heading", { level: 1 })).textContent).toContain("x");
  });
  test("are the browser's business when they shall open elsewhere", () => {
    const link = open();
    expect(fireEvent.click(link, { ctrlKey: true })).toBe(true);
  });
});

test("a time says exactly when on hover", () => {
  show("/events", only("events", list([event])));
  const time = document.querySelector("time")!;
  expect(time.title).toBe("");
  fireEvent.pointerOver(time);
  expect(time.title).toMatch(/^2026-01-0\d \d\d:\d\d:05\.000 /);
});

test("the terminal shows answers as text, errors, and completes", async () => {
  const source = new FakeSource(() => undefined);
  const { container } = show("/terminal", source);
  const input = await screen.findByLabelText("Command");
  fireEvent.change(input, { target: { value: "get dev" } });
  fireEvent.keyDown(input, { key: "Tab" });
  act(() => source.commands[0]?.tell({ type: "completions", id: 1, from: 4, items: ["devices"] }));
  expect((input as HTMLInputElement).value).toBe("get devices ");
  fireEvent.keyDown(input, { key: "Enter" });
  expect(source.commands[1]?.line).toBe("get devices");
  act(() => {
    source.commands[1]?.tell({ type: "output", id: 2, seq: 1, columns: ["NAME", "X"], rows: [["hall-a-01", hostile]] });
    source.commands[1]?.tell({ type: "done", id: 2 });
  });
  expect(container.textContent).toContain(`hall-a-01   ${shown}`);
  expect(container.querySelector("pre img")).toBeNull();
  fireEvent.keyDown(input, { key: "ArrowUp" });
  expect((input as HTMLInputElement).value).toBe("get devices");
});

test("getting started writes a manifest, and says what is wrong with a form", async () => {
  const { container } = show("/start", new FakeSource(() => undefined));
  const name = await screen.findByLabelText("Name");
  expect(container.querySelector("pre")?.textContent).toContain("kind: Device");
  fireEvent.change(name, { target: { value: "no good" } });
  expect(container.querySelector("pre")).toBeNull();
  expect(container.textContent).toContain("At most 63");
});

test("a mistake in one view stays in it, and is shown", () => {
  vi.spyOn(console, "error").mockReturnValue();
  let broken = true;
  function Part() {
    if (broken) throw new Error("out of order");
    return <p>in order</p>;
  }
  render(
    <MantineProvider>
      <Guard>
        <Part />
      </Guard>
    </MantineProvider>,
  );
  expect(screen.getByRole("alert").textContent).toContain("out of order");
  broken = false;
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(screen.getByText("in order")).toBeTruthy();
});

test("what is not found is looked for again, as long as it is not there", () => {
  vi.useFakeTimers();
  let there = false;
  const source = new FakeSource(() => (there ? value({ ...commitRow, subject: "Warmer halls" }) : failed("no repository has it", "NotFound")));
  const useCommit = (q: { id: string }) => useValue<{ subject: string }>("commit", q);
  const { result, unmount } = renderHook(useCommit, { initialProps: { id: commit }, wrapper: ({ children }) => <SourceContext value={source}>{children}</SourceContext> });
  expect(result.current).toMatchObject({ status: "failed", code: "NotFound" });
  act(() => {
    vi.advanceTimersByTime(1_900);
  });
  expect(source.retries).toBe(0);
  there = true;
  act(() => {
    vi.advanceTimersByTime(200);
  });
  expect(source.retries).toBe(1);
  expect(result.current).toMatchObject({ status: "ready", data: { subject: "Warmer halls" } });
  act(() => {
    vi.advanceTimersByTime(10_000);
  });
  expect(source.retries).toBe(1);
  unmount();
  vi.useRealTimers();
});
