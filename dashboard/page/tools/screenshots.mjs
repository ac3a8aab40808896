// SPDX-License-Identifier: Apache-2.0

// Takes pictures of a running dashboard:
//
//	npm run screenshots -- ADDRESS [DIRECTORY WIDTH…]
//
// ADDRESS is what `wasmbed up` printed, with its token. Without a directory and widths: the pictures of the README.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { launch, settled } from "./browser.mjs";

const [address, directory = join(import.meta.dirname, "../../screenshots"), ...widths] = process.argv.slice(2);
if (!address) throw new Error("usage: npm run screenshots -- ADDRESS [DIRECTORY WIDTH…]");

/** @type {Record<string, string>} */
const views = {
  overview: "/",
  problems: "/problems",
  commits: "/commits",
  commit: "/commits/HEAD",
  applications: "/applications",
  application: "/applications/plant/thermostat",
  devices: "/devices",
  device: "/devices/plant/lab-m3",
  log: "/devices/plant/lab-m3/log",
  deviceEvents: "/devices/plant/lab-m3/events",
  charts: "/devices/plant/lab-m3/charts",
  console: "/devices/plant/lab-m3/console",
  gateways: "/gateways",
  gateway: "/gateways/plant/edge",
  system: "/system",
  topology: "/topology",
  events: "/events",
  terminal: "/terminal",
  start: "/start",
};

/** @type {[string, "light" | "dark"][]} */
const ofTheReadme = [
  ["overview", "dark"],
  ["application", "light"],
  ["devices", "light"],
  ["topology", "dark"],
];

const wanted =
  widths.length === 0
    ? ofTheReadme.map(([name, scheme]) => ({ name, scheme, width: 1280, file: `${name}.png` }))
    : widths.flatMap((w) => Object.keys(views).flatMap((name) => /** @type {const} */ (["light", "dark"]).map((scheme) => ({ name, scheme, width: Number(w), file: `${name}-${w}-${scheme}.png` }))));

const browser = await launch();
try {
  mkdirSync(directory, { recursive: true });
  for (const scheme of /** @type {const} */ (["light", "dark"]))
    for (const width of new Set(wanted.map((w) => w.width))) await pictures(scheme, width);
} finally {
  await browser.close();
}

/**
 * @param {"light" | "dark"} scheme
 * @param {number} width
 */
async function pictures(scheme, width) {
  const context = await browser.newContext({ viewport: { width, height: width > 1000 ? Math.round(width * 0.6) : 844 }, colorScheme: scheme });
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && console.error(`${m.type()}: ${m.text()}`));
  page.on("pageerror", (e) => console.error(e));
  await page.goto(/** @type {string} */ (address));
  await settled(page);
  const answer = await page.request.get(new URL("/api/v1/commits?limit=1", page.url()).href);
  /** @type {unknown} */
  const commits = await answer.json();
  const newest = /** @type {{ items?: { commit: string }[] }} */ (commits).items?.[0]?.commit ?? "";
  for (const { name, file } of wanted.filter((w) => w.scheme === scheme && w.width === width)) {
    await page.goto(new URL((views[name] ?? "/").replace("HEAD", newest), page.url()).href);
    await settled(page);
    await page.waitForTimeout(500);
    await page.screenshot({ path: join(/** @type {string} */ (directory), file) });
  }
  await context.close();
}
