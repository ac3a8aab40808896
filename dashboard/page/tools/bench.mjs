// SPDX-License-Identifier: Apache-2.0

// The browser's side of controllers/bench/dashboard, which starts it, changes devices meanwhile, and prints what it
// finds:
//
//	node tools/bench.mjs ADDRESS SECONDS MEMORY_SECONDS
//
// It writes a line of JSON for whatever it found: "first" (a view's first useful picture), "watching" (from here on
// changes count), "shown" (texts of changes with the time of their pixels), "wire" and "memory".

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { launch } from "./browser.mjs";

const [address = "", seconds = "20", memorySeconds = "60"] = process.argv.slice(2);

/** What makes a view useful: its rows, its sentence, its groups. */
const useful = {
  devices: { path: "/devices", selector: '[role=table] a[href*="/device-"]' },
  overview: { path: "/", selector: "[data-tone] p" },
  topology: { path: "/topology", selector: "main section li" },
};
const rounds = 7;
const pageOfMemory = 4096;
/** Where the walk through the views leads. */
const places = ["/", "/topology", "/applications", "/events", "/devices/bench/device-00003", "/devices"];
/** So many rounds fill the lists that the browser keeps of every page: 50 steps of history, layout shifts, long frames. */
const roundsBefore = 45;

/** @param {object} found */
const say = (found) => console.log(JSON.stringify(found));

const browser = await launch();
try {
  for (const [view, { path, selector }] of Object.entries(useful)) {
    /** @type {number[]} */
    const milliseconds = [];
    for (let i = 0; i < rounds; i++) milliseconds.push(await first(path, selector));
    say({ kind: "first", view, milliseconds });
  }
  await watch();
} finally {
  await browser.close();
}

/** A browser that knows the token and has nothing of the page yet. */
async function visitor() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const { origin, searchParams } = new URL(address);
  await context.request.get(`${origin}/?token=${searchParams.get("token") ?? ""}`);
  return { context, origin };
}

/**
 * Milliseconds from the navigation, with nothing in the browser's cache, to the frame after the view had its data.
 *
 * @param {string} path
 * @param {string} selector
 */
async function first(path, selector) {
  const { context, origin } = await visitor();
  const page = await context.newPage();
  await page.addInitScript((wanted) => {
    const observer = new MutationObserver(() => {
      if (!document.querySelector(wanted)) return;
      observer.disconnect();
      requestAnimationFrame(() => Object.assign(globalThis, { useful: performance.now() }));
    });
    observer.observe(document, { childList: true, subtree: true });
  }, selector);
  await page.goto(origin + path);
  const found = await page.waitForFunction(() => /** @type {{ useful?: number }} */ (globalThis).useful);
  const at = /** @type {number} */ (await found.jsonValue());
  await context.close();
  return at;
}

/** Looks at the devices while they change: when a change is seen, what comes over the wire, what stays in memory. */
async function watch() {
  const { context, origin } = await visitor();
  const page = await context.newPage();
  const wire = { bytes: 0, frames: 0 };
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      wire.bytes += Buffer.byteLength(payload);
      wire.frames++;
    }),
  );
  await page.addInitScript(noteChanges);
  await page.goto(`${origin}/devices`);
  await page.locator(useful.devices.selector).first().waitFor();
  await sleep(1_000);
  Object.assign(wire, { bytes: 0, frames: 0 });
  say({ kind: "watching" });
  await sleep(Number(seconds) * 1_000);
  say({ kind: "wire", ...wire });
  say({ kind: "shown", changes: await page.evaluate(() => /** @type {{ shown?: Record<string, number> }} */ (globalThis).shown) });
  await memory(page, Number(memorySeconds));
  await context.close();
}

/** Runs in the page: the time of the frame after a row's text names a change for the first time, for each change. */
function noteChanges() {
  /** @type {Record<string, number>} */
  const shown = {};
  const observer = new MutationObserver((records) => {
    const texts = records.flatMap((r) => (r.type === "characterData" ? [r.target.textContent] : [...r.addedNodes].map((n) => n.textContent)));
    const names = texts.flatMap((t) => t?.match(/change-\d+/g) ?? []).filter((n) => !(n in shown));
    if (names.length > 0) requestAnimationFrame(() => names.forEach((n) => (shown[n] ??= Date.now())));
  });
  observer.observe(document, { childList: true, subtree: true, characterData: true });
  Object.assign(globalThis, { shown, unwatch: () => observer.disconnect() });
}

/**
 * Runs in the page: walks through all views, and scrolls the devices, so many times. It runs by itself, because the browser keeps
 * some kilobytes of each piece of code that is given to a page.
 *
 * @param {{ paths: string[], rounds: number, pause: number }} how pause: milliseconds
 */
async function walk({ paths, rounds, pause }) {
  /** @param {number} milliseconds */
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  for (let round = 0; round < rounds; round++) {
    for (const path of paths) {
      history.pushState(null, "", path);
      dispatchEvent(new PopStateEvent("popstate"));
      await wait(pause);
    }
    let table = document.querySelector("[role=table]");
    for (; !table; table = document.querySelector("[role=table]")) await wait(20);
    table.scrollTop = 100_000;
    await wait(pause / 2);
    table.scrollTop = 0;
    await wait(pause * 1.5);
  }
}

/**
 * Stays in the list of devices while they change, as on a wall, and then walks through the views again and again; tells what is
 * in memory meanwhile.
 *
 * @param {import("playwright-core").Page} page
 * @param {number} duration of each, seconds
 */
async function memory(page, duration) {
  const cdp = await page.context().newCDPSession(page);
  const system = await browser.newBrowserCDPSession();
  await page.evaluate(() => /** @type {{ unwatch?: () => void }} */ (globalThis).unwatch?.());
  /** @param {string} what */
  const watch = async (what) => {
    const began = Date.now();
    while (Date.now() - began < duration * 1_000) {
      await sleep(9_000);
      await cdp.send("HeapProfiler.collectGarbage");
      const { usedSize } = await cdp.send("Runtime.getHeapUsage");
      const { nodes, jsEventListeners } = await cdp.send("Memory.getDOMCounters");
      const { processInfo } = await system.send("SystemInfo.getProcessInfo");
      const resident = processInfo.filter((p) => p.type === "renderer").map((p) => pages(p.id));
      say({ kind: "memory", what, second: Math.round((Date.now() - began) / 1_000), heap: usedSize, nodes, listeners: jsEventListeners, resident: Math.max(...resident) * pageOfMemory });
    }
  };
  await watch("staying");
  await page.evaluate(walk, { paths: places, rounds: roundsBefore, pause: 200 });
  const walked = page.evaluate(walk, { paths: places, rounds: Math.ceil(duration / 8), pause: 1_000 });
  await watch("walking");
  await walked;
}

/** @param {number} pid */
function pages(pid) {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
}
