// SPDX-License-Identifier: Apache-2.0

import { known, streamURL } from "./lib/api";
import { firstQuestion } from "./lib/first";
import { Stream } from "./lib/stream";

// The connection opens, and the first view's data is asked for, while everything else is still on its way.
const stream = new Stream({ url: streamURL(window.location), known });
const question = firstQuestion(window.location);
if (question) stream.prepare(question.view, question.query);
stream.start();
void import("./app/start").then(({ start }) => start(stream));
