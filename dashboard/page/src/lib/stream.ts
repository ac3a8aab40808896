// SPDX-License-Identifier: Apache-2.0

// The one websocket of the page: subscriptions, commands of the terminal, and healing. What is held and when to connect
// are decided by held.ts and connection.ts.

import { initial, next, type Connection, type Happened } from "./connection";
import type { Frame, Query } from "./contract";
import { apply, type Held } from "./held";

/** What a subscriber is told. `stale` says that the data is what was there before the connection was lost. */
export interface Told {
  held: Held | undefined;
  error: { code: string; message: string; retrying: boolean } | undefined;
}

export interface Subscription {
  /** Asks for something else of the same view; what is held stays until the answer is there. */
  update: (query: Query) => void;
  /** Begins anew, after an error. */
  retry: () => void;
  close: () => void;
}

export type Answer = Extract<Frame, { type: "output" | "done" | "error" | "completions" }>;

/** What the views need of a connection; tests give their own. */
export interface Source {
  connection: () => Connection;
  watch: (listener: () => void) => () => void;
  subscribe: (view: string, query: Query, tell: (told: Told) => void) => Subscription;
  /** What is known already of what was prepared and nobody has subscribed to yet. */
  prepared: (view: string, query: Query) => Told | undefined;
  /** Sends a command or asks for completions; the returned function ends it. */
  ask: (what: { type: "run" | "complete"; line: string }, tell: (answer: Answer) => void) => () => void;
  /** The server's version and user, from its greeting. */
  greeting: () => { version?: string; user?: string; synced: boolean };
  reconnect: () => void;
}

interface Entry {
  view: string;
  query: Query;
  held: Held | undefined;
  /** True from a new query until its snapshot: what arrives in between answers the old one. */
  awaiting: boolean;
  tell: (told: Told) => void;
  told: Told | undefined;
}

/** How long what was prepared waits for its subscriber. */
const preparedLife = 15_000;
const silence = 12_000;
const streams = new Set(["logs", "console"]);

export interface Options {
  url: string;
  /** Whether the server knows this browser: asked when a connection fails before it opens. */
  known: () => Promise<boolean>;
}

export class Stream implements Source {
  #state: Connection = initial;
  #socket: WebSocket | undefined;
  #session = "";
  #hello: { version?: string; user?: string; synced: boolean } = { synced: true };
  #nextID = 1;
  #prepared: { view: string; key: string; id: number } | undefined;
  #entries = new Map<number, Entry>();
  #asked = new Map<number, (answer: Answer) => void>();
  #listeners = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silent: ReturnType<typeof setTimeout> | undefined;
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  start(): void {
    globalThis.addEventListener("online", () => this.#happened({ kind: "retry" }));
    globalThis.document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#happened({ kind: "retry" });
    });
    this.#connect();
  }

  connection = (): Connection => this.#state;
  greeting = () => this.#hello;

  watch = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** After a new token: forgets that the server refused. */
  reconnect = (): void => {
    if (this.#state.state === "live") return;
    this.#state = { state: "connecting", attempt: 1 };
    this.#notify();
    this.#connect();
  };

  /** Asks for what a view will subscribe to as soon as it is there. */
  prepare(view: string, query: Query): void {
    const [id] = this.#enter(view, query, () => undefined);
    this.#prepared = { view, key: JSON.stringify(query), id };
    setTimeout(() => {
      if (this.#prepared?.id === id) this.#leave(id);
    }, preparedLife);
  }

  prepared = (view: string, query: Query): Told | undefined => {
    const p = this.#prepared;
    return p?.view === view && p.key === JSON.stringify(query) ? this.#entries.get(p.id)?.told : undefined;
  };

  subscribe = (view: string, query: Query, tell: (told: Told) => void): Subscription => {
    const [id, entry] = this.#adopt(view, query, tell) ?? this.#enter(view, query, tell);
    const again = () => {
      entry.awaiting = true;
      this.#sendSubscribe(id, entry);
    };
    return {
      update: (q) => {
        entry.query = q;
        again();
      },
      retry: again,
      close: () => this.#leave(id),
    };
  };

  #enter(view: string, query: Query, tell: (told: Told) => void): [id: number, entry: Entry] {
    const id = this.#nextID++;
    const entry: Entry = { view, query, held: undefined, awaiting: true, tell, told: undefined };
    this.#entries.set(id, entry);
    this.#sendSubscribe(id, entry);
    return [id, entry];
  }

  /** Gives what was prepared to its subscriber. */
  #adopt(view: string, query: Query, tell: (told: Told) => void): [id: number, entry: Entry] | undefined {
    const p = this.#prepared;
    if (p?.view !== view || p.key !== JSON.stringify(query)) return undefined;
    this.#prepared = undefined;
    const entry = this.#entries.get(p.id);
    if (!entry) return undefined;
    entry.tell = tell;
    if (entry.told) tell(entry.told);
    return [p.id, entry];
  }

  #leave(id: number): void {
    if (this.#prepared?.id === id) this.#prepared = undefined;
    this.#entries.delete(id);
    this.#send({ type: "unsubscribe", id });
  }

  #tell(entry: Entry, told: Told): void {
    entry.told = told;
    entry.tell(told);
  }

  ask = (what: { type: "run" | "complete"; line: string }, tell: (answer: Answer) => void): (() => void) => {
    const id = this.#nextID++;
    if (!this.#send({ ...what, id })) {
      tell({ type: "error", id, code: "Unavailable", message: "The connection to the server is lost; it is being restored." });
      return () => undefined;
    }
    this.#asked.set(id, tell);
    return () => {
      if (this.#asked.delete(id)) this.#send({ type: "unsubscribe", id });
    };
  };

  #notify(): void {
    for (const l of this.#listeners) l();
  }

  #happened(what: Happened): void {
    const before = this.#state;
    this.#state = next(before, what, Date.now(), Math.random());
    if (this.#state === before) return;
    clearTimeout(this.#timer);
    if (this.#state.state === "waiting") {
      this.#timer = setTimeout(() => this.#happened({ kind: "retry" }), this.#state.retryAt - Date.now());
    }
    this.#notify();
    if (this.#state.state === "connecting") this.#connect();
  }

  #connect(): void {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const socket = new WebSocket(this.#options.url + (this.#session ? `?session=${encodeURIComponent(this.#session)}` : ""));
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#listen();
    };
    socket.onmessage = (event) => {
      if (this.#socket !== socket || typeof event.data !== "string") return;
      this.#listen();
      this.#received(JSON.parse(event.data) as Frame);
    };
    socket.onclose = (event) => void this.#closed(socket, opened, event);
  }

  async #closed(socket: WebSocket, opened: boolean, event: CloseEvent): Promise<void> {
    if (this.#socket !== socket) return;
    clearTimeout(this.#silent);
    this.#socket = undefined;
    for (const [id, tell] of this.#asked) tell({ type: "error", id, code: "Unavailable", message: "The connection was lost before the answer was there." });
    this.#asked.clear();
    // A browser does not tell why a websocket was not let in: ask.
    const refused = event.code === 4001 || (!opened && !(await this.#options.known()));
    if (this.#busy()) return;
    this.#happened({ kind: "closed", reason: event.reason || "The server does not answer.", refused });
  }

  /** True when somebody connected anew meanwhile. */
  #busy(): boolean {
    return this.#socket !== undefined;
  }

  /** Takes the connection for lost when nothing comes for a while: the server says something every five seconds. */
  #listen(): void {
    clearTimeout(this.#silent);
    const socket = this.#socket;
    this.#silent = setTimeout(() => {
      if (!socket || this.#socket !== socket) return;
      this.#socket = undefined;
      socket.onclose = null;
      socket.close();
      this.#happened({ kind: "closed", reason: "The server has gone silent.", refused: false });
    }, silence);
  }

  #send(message: object): boolean {
    if (this.#state.state !== "live" || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #sendSubscribe(id: number, entry: Entry, resume?: number): void {
    this.#send({ type: "subscribe", id, view: entry.view, query: entry.query, ...(resume === undefined ? {} : { resume }) });
  }

  #received(frame: Frame): void {
    switch (frame.type) {
      case "hello":
        this.#greeted(frame);
        return;
      case "synced":
        this.#hello = { ...this.#hello, synced: true };
        this.#notify();
        return;
      case "beat":
        return;
      case "output":
      case "done":
      case "completions":
        this.#answered(frame);
        return;
      case "error":
        if (frame.id !== undefined && this.#asked.has(frame.id)) this.#answered(frame);
        else this.#failed(frame);
        return;
      default:
        this.#data(frame);
    }
  }

  #greeted(frame: Extract<Frame, { type: "hello" }>): void {
    this.#session = frame.session;
    this.#hello = {
      ...(frame.version === undefined ? {} : { version: frame.version }),
      ...(frame.user === undefined ? {} : { user: frame.user }),
      synced: frame.synced ?? true,
    };
    this.#happened({ kind: "open" });
    for (const [id, entry] of this.#entries) {
      if (streams.has(entry.view)) entry.held = undefined;
      const resume = entry.awaiting ? undefined : entry.held?.seq;
      entry.awaiting = resume === undefined;
      this.#sendSubscribe(id, entry, resume);
    }
  }

  #answered(frame: Answer): void {
    if (frame.id === undefined) return;
    const tell = this.#asked.get(frame.id);
    if (frame.type !== "output") this.#asked.delete(frame.id);
    tell?.(frame);
  }

  #failed(frame: Extract<Frame, { type: "error" }>): void {
    const entry = frame.id === undefined ? undefined : this.#entries.get(frame.id);
    if (!entry) return;
    this.#tell(entry, { held: entry.held, error: { code: frame.code ?? "", message: frame.message, retrying: frame.retrying ?? false } });
  }

  #data(frame: Extract<Frame, { type: "snapshot" | "delta" | "resumed" | "lines" | "text" }>): void {
    const entry = this.#entries.get(frame.id);
    if (!entry) return;
    const first = frame.type === "snapshot" || ((frame.type === "lines" || frame.type === "text") && frame.seq === 1);
    if (entry.awaiting && !first) return;
    entry.awaiting = false;
    const after = apply(first ? undefined : entry.held, frame);
    if (after === "gap") {
      entry.awaiting = true;
      this.#sendSubscribe(frame.id, entry);
      return;
    }
    if (after === entry.held && frame.type === "resumed") return;
    entry.held = after;
    this.#tell(entry, { held: after, error: undefined });
  }
}
