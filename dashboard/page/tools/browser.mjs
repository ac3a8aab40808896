// SPDX-License-Identifier: Apache-2.0

import { chromium } from "playwright-core";

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Debian's chromium, with a profile that nobody used before and that is gone afterwards. */
export function launch() {
  return chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", headless: true, args: flags });
}

/**
 * Waits until the view has its data: nothing loads, and the connection is live.
 *
 * @param {import("playwright-core").Page} page
 */
export async function settled(page) {
  await page.getByText("Live", { exact: true }).waitFor({ state: "attached" });
  await page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector("[role=status][aria-label^=Loading], [data-later]"));
  await page.evaluate(async () => {
    await document.fonts.ready;
  });
}
