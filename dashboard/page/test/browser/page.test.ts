// SPDX-License-Identifier: Apache-2.0

// The page in a real browser against a real installation. The steps build upon one another.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { launch, settled } from "../../tools/browser.mjs";
import { Installation } from "./installation";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const installation = new Installation();
let browser: Browser | undefined;
let context: BrowserContext;
let page: Page;
/** What would change the page's title if it were not shown as text. */
const markup = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`;
/** Whatever the browser complained about, and whatever was asked other than by GET. */
const complaints: string[] = [];

beforeAll(async () => {
  browser = await launch();
  await installation.up();
}, 240_000);

afterAll(async () => {
  await browser?.close();
  await installation.down();
}, 60_000);

function watch(p: Page): void {
  p.on("pageerror", (e) => complaints.push(`error: ${e.message}`));
  p.on("console", (m) => {
    // A connection that is lost on purpose, and a request without a token, are the browser's errors, not the page's.
    if (["error", "warning"].includes(m.type()) && !/WebSocket|ERR_CONNECTION|401/.test(m.text())) complaints.push(`${m.type()}: ${m.text()}`);
  });
  p.on("request", (r) => {
    if (r.method() !== "GET") complaints.push(`${r.method()} ${r.url()}`);
    if (!r.url().startsWith(`${installation.origin}/`)) complaints.push(`elsewhere: ${r.url()}`);
  });
}

async function go(path: string): Promise<void> {
  await page.evaluate((to) => {
    history.pushState(null, "", to);
    dispatchEvent(new PopStateEvent("popstate"));
  }, path);
  await page.waitForURL((url) => url.pathname + url.search === path);
  await settled(page);
}

/** Whatever axe finds on what is on the screen. */
async function violations(): Promise<string[]> {
  return await page.evaluate(async () => {
    const axe = (globalThis as unknown as { axe: { run: (d: Document, o: object) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }> } }).axe;
    const result = await axe.run(document, { resultTypes: ["violations"] });
    return result.violations.flatMap((v) => v.nodes.slice(0, 3).map((n) => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary ?? ""}`));
  });
}

test("who has no token sees a form for it, and nothing of the fleet", async () => {
  context = await browser!.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
  await context.addInitScript(axeSource);
  context.setDefaultTimeout(20_000); // less than a step's, so that the wait that is in vain is named
  page = await context.newPage();
  watch(page);
  await page.goto(`${installation.origin}/devices`);
  await page.getByLabel("Token").waitFor();
  expect(await page.locator("body").textContent()).not.toContain("hall-a");
  expect(await violations()).toEqual([]);
  await page.getByLabel("Token").fill("WRONG");
  await page.getByRole("button", { name: "Look" }).click();
  await page.getByText("does not know this token").waitFor();
  await page.getByLabel("Token").fill(installation.token);
  await page.getByRole("button", { name: "Look" }).click();
  await page.getByText("plant/hall-a-01").waitFor();
});

test("the address that up prints opens the page and does not stay in the address bar", async () => {
  const other = await browser!.newContext();
  const p = await other.newPage();
  await p.goto(installation.address);
  await p.getByText("Live", { exact: true }).waitFor();
  expect(p.url()).not.toContain("token");
  await p.getByText(/16 devices/).first().waitFor();
  await other.close();
});

const views: [path: string, shows: string | RegExp][] = [
  ["/", /16 devices/],
  ["/problems", /Wrong now/],
  ["/commits", "The first state of the fleet"],
  ["/commits/HEAD", "From push to running"],
  ["/applications", "plant/thermostat"],
  ["/applications/plant/thermostat", "apps/thermostat/thermostat.wasm"],
  ["/devices", "plant/lab-m3"],
  ["/devices/plant/lab-m3", /Cortex-M3|cortex-m3/],
  ["/devices/plant/lab-m3/log", "Log"],
  ["/devices/plant/lab-m3/charts", /heap|No history/i],
  ["/devices/plant/lab-m3/events", /Device|Nothing/],
  ["/devices/plant/lab-m3/console", "Serial console"],
  ["/gateways", "plant/edge"],
  ["/gateways/plant/edge", "Certificate"],
  ["/system", /Processes/],
  ["/topology", "hall-b"],
  ["/events", /RolledOut|Applied/],
  ["/terminal", "There is no shell"],
  ["/start", "kind: Device"],
];

describe.each(views)("%s", (path, shows) => {
  test("shows what is there, and axe finds nothing in either theme", async () => {
    const newest = path.includes("HEAD") ? ((await (await page.request.get(`${installation.origin}/api/v1/commits?limit=1`)).json()) as { items: { commit: string }[] }).items[0]!.commit : "";
    await go(path.replace("HEAD", newest));
    await page.locator("main").getByText(shows).first().waitFor();
    for (const theme of ["light", "dark"]) {
      expect(await page.locator("html").getAttribute("data-mantine-color-scheme")).toBe(theme);
      expect(await violations(), theme).toEqual([]);
      await page.locator("h1").click();
      await page.keyboard.press("t");
      await page.locator(`html:not([data-mantine-color-scheme=${theme}])`).waitFor({ state: "attached" });
    }
  });
});

test("every view fits a phone and a wall", async () => {
  for (const [width, height] of [
    [360, 740],
    [2560, 1440],
  ] as const) {
    await page.setViewportSize({ width, height });
    for (const [path] of views.filter(([p]) => !p.includes("HEAD"))) {
      await go(path);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(over, `${path} at ${String(width)}`).toBeLessThanOrEqual(0);
      const cut = await page.evaluate(() => {
        const main = document.querySelector("main");
        return main ? main.scrollWidth - main.clientWidth : 0;
      });
      expect(cut, `main of ${path} at ${String(width)}`).toBeLessThanOrEqual(0);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
});

test("a push changes the page, without a reload", async () => {
  await go("/applications/plant/thermostat");
  await page.locator("main").getByText("21000", { exact: true }).waitFor();
  await page.evaluate(() => ((globalThis as unknown as { mark: number }).mark = 1));
  installation.write("apps/thermostat/application.yaml", installation.read("apps/thermostat/application.yaml").replace('target: "21000"', 'target: "23000"'));
  const commit = await installation.push("Warmer halls");
  await page.locator("main").getByText("23000", { exact: true }).waitFor();
  await page.getByRole("link", { name: commit.slice(0, 7) }).first().waitFor();
  await go(`/commits/${commit}`);
  await page.getByText("Applied", { exact: true }).first().waitFor();
  await page.locator("main").getByText("plant/thermostat").first().waitFor();
  await page.getByText(/^11 run, 0 failed, 0 wait/).waitFor();
  expect(await page.evaluate(() => (globalThis as unknown as { mark?: number }).mark)).toBe(1);
});

test("a bad commit is there with its file, its line and what to do", async () => {
  await go("/commits");
  const good = installation.read("apps/blink/application.yaml");
  installation.write("apps/blink/application.yaml", good.replace("permissions: [gpio, timer]", "permissions: [gpio]"));
  await installation.push("Blink without a timer");
  await page.getByText("Blink without a timer").first().waitFor();
  await page.getByText(/apps\/blink\/application\.yaml:\d+/).first().waitFor();
  await page.getByText(/add it to spec.permissions/).first().waitFor();
  await go("/");
  await page.getByText(/is not applied: PermissionMissing/).waitFor();
  installation.write("apps/blink/application.yaml", good);
  await installation.push("Blink with its timer");
  await page.getByText("All 16 devices run what git says.").waitFor();
});

test("the keyboard, the terminal and the form work", async () => {
  await go("/");
  await page.locator("h1").click();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.waitForURL("**/devices");
  await page.keyboard.press("/");
  await page.keyboard.type("lab-m3");
  await page.getByText("2 of 16").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("g");
  await page.keyboard.press("x");
  await page.waitForURL("**/terminal");
  const command = page.getByLabel("Command");
  await command.fill("get devices -n plant");
  await command.press("Enter");
  await page.getByText(/hall-a-01 .*Online/).waitFor();
  await command.fill("delete device hall-a-01");
  await command.press("Enter");
  await page.getByRole("alert").waitFor();
  await go("/start");
  await page.getByLabel("Name", { exact: true }).fill("pump-9");
  await page.getByText("devices/pump-9.yaml").first().waitFor();
});

test("a hostile subject, author, label, config and log line are text", async () => {
  installation.write(
    "apps/hostile/hostile.wat",
    `(module
      (import "env" "wasmbed_log" (func $log (param i32 i32 i32) (result i32)))
      (import "env" "ocre_timer_create" (func $create (param i32) (result i32)))
      (import "env" "ocre_timer_start" (func $start (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) ${JSON.stringify(markup)})
      (func (export "run") (result i32) (i32.or (call $create (i32.const 1)) (call $start (i32.const 1) (i32.const 500) (i32.const 1))))
      (func (export "timer_callback") (param i32) (drop (call $log (i32.const 3) (i32.const 0) (i32.const ${String(markup.length)})))))`,
  );
  await installation.assemble("apps/hostile/hostile.wat");
  installation.write(
    "apps/hostile/application.yaml",
    `apiVersion: wasmbed.dev/v1alpha1
kind: Application
metadata: { name: hostile, namespace: plant }
spec:
  module: { path: apps/hostile/hostile.wasm }
  selector: { matchLabels: { constructor: hasOwnProperty } }
  config: { constructor: ${JSON.stringify(markup)} }
  permissions: [log, timer]
  limits: { memory: 1024, stack: 1024 }
`,
  );
  installation.write("apps/kustomization.yaml", `${installation.read("apps/kustomization.yaml")}  - hostile/application.yaml\n`);
  installation.write("devices/yard.yaml", installation.read("devices/yard.yaml").replace("labels: { site: yard, tier: canary }", "labels: { site: yard, tier: canary, constructor: hasOwnProperty }"));
  const commit = await installation.push(`${markup}\u202e`);
  await go("/commits");
  await page.getByText(markup).first().waitFor();
  await go(`/commits/${commit}`);
  await page.locator("h1", { hasText: "<img src=x" }).waitFor();
  await page.getByText("Ada bByron/b").first().waitFor(); // as git writes such a name
  await go("/applications/plant/hostile");
  await page.getByText(markup, { exact: true }).first().waitFor();
  await go("/devices/plant/yard-01");
  await page.getByText("constructor=hasOwnProperty").waitFor();
  await go("/devices/plant/yard-01/log");
  await page.getByText(markup, { exact: true }).first().waitFor();
  expect(await page.locator("main img, main script").count()).toBe(0);
  expect(await page.title()).not.toBe("taken");
});

test("a lost connection is shown at once and heals by itself", async () => {
  await go("/applications/plant/thermostat");
  await page.evaluate(() => ((globalThis as unknown as { mark: number }).mark = 2));
  const lost = page.getByText(/Connection lost/).waitFor();
  installation.killDashboard();
  await lost;
  expect(await page.locator("main").getByText("23000", { exact: true }).count()).toBe(1);
  await page.getByText(/Connection lost/).waitFor({ state: "detached" });
  await settled(page);
  installation.write("apps/thermostat/application.yaml", installation.read("apps/thermostat/application.yaml").replace('target: "23000"', 'target: "19000"'));
  await installation.push("Cooler halls");
  await page.locator("main").getByText("19000", { exact: true }).waitFor();
  expect(await page.evaluate(() => (globalThis as unknown as { mark?: number }).mark)).toBe(2);
});

test("the page asked for nothing from elsewhere, wrote nothing, and the browser had nothing to complain of", () => expect(complaints).toEqual([]));
