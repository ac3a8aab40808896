// SPDX-License-Identifier: Apache-2.0

import "@fontsource-variable/inter/wght.css";
import "@fontsource-variable/jetbrains-mono/wght.css";
import "./app/mantine";
import "./app/app.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app/App";
import { known, streamURL } from "./lib/api";
import { Stream } from "./lib/stream";

const root = document.getElementById("root");
if (!root) throw new Error("internal error: index.html has no #root");
const stream = new Stream({ url: streamURL(window.location), known });
stream.start();
createRoot(root).render(
  <StrictMode>
    <App source={stream} />
  </StrictMode>,
);
