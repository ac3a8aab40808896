// SPDX-License-Identifier: Apache-2.0

import { known, streamURL } from "./lib/api";
import { Stream } from "./lib/stream";

// The connection opens while everything else is still on its way.
const stream = new Stream({ url: streamURL(window.location), known });
stream.start();
void import("./app/start").then(({ start }) => start(stream));
