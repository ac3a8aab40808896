// SPDX-License-Identifier: Apache-2.0

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  test: {
    include: ["test/unit/**/*.test.{ts,tsx}"],
    environment: "happy-dom",
    setupFiles: ["test/unit/setup.ts"],
    css: false,
    testTimeout: 30_000,
    restoreMocks: true,
  },
});
