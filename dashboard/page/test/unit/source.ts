// SPDX-License-Identifier: Apache-2.0

import type { Connection } from "../../src/lib/connection";
import type { Query } from "../../src/lib/contract";
import type { Held } from "../../src/lib/held";
import type { Answer, Source, Told } from "../../src/lib/stream";

/** A connection whose other end is the test. */
export class FakeSource implements Source {
  state: Connection = { state: "live" };
  synced = true;
  readonly asked: { view: string; query: Query }[] = [];
  readonly commands: { type: string; line: string; tell: (answer: Answer) => void }[] = [];
  retries = 0;
  #listeners = new Set<() => void>();
  #told: (view: string) => Told | undefined;

  /** told says what a view's subscribers learn at once; undefined: nothing yet. */
  constructor(told: (view: string) => Told | undefined) {
    this.#told = told;
  }

  connection = () => this.state;
  greeting = () => ({ version: "test", synced: this.synced });
  reconnect = () => undefined;
  prepared = () => undefined;
  watch = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  become(state: Connection) {
    this.state = state;
    for (const l of this.#listeners) l();
  }
  subscribe = (view: string, query: Query, tell: (told: Told) => void) => {
    this.asked.push({ view, query });
    const answer = () => {
      const t = this.#told(view);
      if (t) tell(t);
    };
    answer();
    return {
      update: (q: Query) => {
        this.asked.push({ view, query: q });
        answer();
      },
      retry: () => {
        this.retries++;
        answer();
      },
      close: () => undefined,
    };
  };
  ask = (what: { type: "run" | "complete"; line: string }, tell: (answer: Answer) => void) => {
    this.commands.push({ ...what, tell });
    return () => undefined;
  };
}

export const held = (h: Held): Told => ({ held: h, error: undefined });
export const value = (v: object): Told => held({ kind: "value", seq: 1, value: v as Record<string, unknown> });
export const list = (rows: { id: string }[], total = rows.length): Told => held({ kind: "list", seq: 1, total, all: total, offset: 0, rows });
export const failed = (message: string, code = "Unavailable"): Told => ({ held: undefined, error: { code, message, retrying: false } });
