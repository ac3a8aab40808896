// SPDX-License-Identifier: Apache-2.0

import { defineConfig } from "vitest/config";

// The page in Debian's chromium, against a whole installation. One file: its steps build upon one another.
export default defineConfig({
  test: {
    include: ["test/browser/**/*.test.ts"],
    environment: "node",
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
