// SPDX-License-Identifier: Apache-2.0

import "@fontsource-variable/inter/wght.css";
import "@fontsource-variable/jetbrains-mono/wght.css";
import "./mantine";
import "./app.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import type { Source } from "../lib/stream";
import { App } from "./App";

/** Shows the page. */
export function start(source: Source): void {
  const root = document.getElementById("root");
  if (!root) throw new Error("internal error: index.html has no #root");
  createRoot(root).render(
    <StrictMode>
      <App source={source} />
    </StrictMode>,
  );
}
