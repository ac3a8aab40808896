// SPDX-License-Identifier: Apache-2.0

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { Stream, type Told } from "../../src/lib/stream";

/** A websocket whose other end is the test. */
class Socket {
  static readonly OPEN = 1;
  static last: Socket;
  readonly readyState = Socket.OPEN;
  readonly sent: { type: string; id: number; view?: string }[] = [];
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  constructor() {
    Socket.last = this;
  }
  send(text: string) {
    this.sent.push(JSON.parse(text) as { type: string; id: number });
  }
  close() {
    return undefined;
  }
  receive(frame: object) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
}

const hello = { type: "hello", protocol: 1, server: "a", session: "b", synced: true };
const snapshot = { type: "snapshot", id: 1, seq: 1, view: "devices", total: 1, all: 1, offset: 0, rows: [{ id: "plant/a" }] };

describe("what is prepared", () => {
  let stream: Stream;
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", Socket);
    stream = new Stream({ url: "ws://localhost", known: () => Promise.resolve(true) });
    stream.prepare("devices", { limit: 200 });
    stream.start();
    Socket.last.onopen?.();
    Socket.last.receive(hello);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test("is asked for as soon as the server greets, and is there when its view subscribes", () => {
    expect(Socket.last.sent).toEqual([{ type: "subscribe", id: 1, view: "devices", query: { limit: 200 } }]);
    Socket.last.receive(snapshot);
    const early = stream.prepared("devices", { limit: 200 });
    expect(early?.held).toMatchObject({ kind: "list", total: 1 });
    const told: Told[] = [];
    const s = stream.subscribe("devices", { limit: 200 }, (t) => told.push(t));
    expect(told).toEqual([early]);
    expect(Socket.last.sent).toHaveLength(1);
    Socket.last.receive({ type: "delta", id: 1, seq: 2, total: 0, removed: ["plant/a"] });
    expect(told[1]?.held).toMatchObject({ total: 0, rows: [] });
    s.close();
    expect(Socket.last.sent[1]).toEqual({ type: "unsubscribe", id: 1 });
  });
  test("belongs to one subscriber, and to the same question only", () => {
    Socket.last.receive(snapshot);
    expect(stream.prepared("devices", { limit: 100 })).toBeUndefined();
    stream.subscribe("devices", { limit: 200 }, () => undefined);
    stream.subscribe("devices", { limit: 200 }, () => undefined);
    expect(Socket.last.sent.map((m) => m.id)).toEqual([1, 2]);
  });
  test("is given up when nobody comes for it", () => {
    vi.advanceTimersByTime(10_000);
    Socket.last.receive({ type: "beat" });
    expect(Socket.last.sent).toHaveLength(1);
    vi.advanceTimersByTime(6_000);
    expect(stream.prepared("devices", { limit: 200 })).toBeUndefined();
    expect(Socket.last.sent[1]).toEqual({ type: "unsubscribe", id: 1 });
  });
});
