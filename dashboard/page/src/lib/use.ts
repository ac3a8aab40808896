// SPDX-License-Identifier: Apache-2.0

// The views' way to live data.

import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";

import { stale, type Connection } from "./connection";
import type { Query } from "./contract";
import type { KeyedLine } from "./held";
import type { Source, Subscription, Told } from "./stream";

export const SourceContext = createContext<Source | undefined>(undefined);

export function useSource(): Source {
  const source = useContext(SourceContext);
  if (!source) throw new Error("internal error: no source of data around this component");
  return source;
}

export function useConnection(): Connection {
  const source = useSource();
  return useSyncExternalStore(source.watch, source.connection);
}

/** What a view knows of its data. `stale`: the connection is lost, and this is what was there before. */
export type Loaded<T> =
  | { status: "loading" }
  | { status: "failed"; message: string; code: string; retry: () => void }
  | { status: "ready"; data: T; stale: boolean };

interface Answer {
  told: Told | undefined;
  retry: () => void;
}

const nothing = () => undefined;

/** Milliseconds after which what was not found is looked for again: a commit that was pushed just now comes. */
const lookAgain = 2_000;

/** Subscribes for as long as the component is there. A new query replaces the old one; `view` "" asks for nothing. */
function useTold(view: string, query: Query): Answer {
  const source = useSource();
  const [told, setTold] = useState<{ view: string; told: Told } | undefined>(() => {
    const early = view ? source.prepared(view, query) : undefined;
    return early && { view, told: early };
  });
  const subscription = useRef<Subscription>(undefined);
  const key = JSON.stringify(query);
  const first = useRef(key);
  useEffect(() => {
    if (!view) return;
    first.current = key;
    const s = source.subscribe(view, JSON.parse(key) as Query, (t) => setTold((before) => (before?.view === view && before.told === t ? before : { view, told: t })));
    subscription.current = s;
    return () => {
      subscription.current = undefined;
      s.close();
    };
    // A new key is an update of the same subscription, below.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [source, view]);
  useEffect(() => {
    if (first.current === key) return;
    first.current = key;
    subscription.current?.update(JSON.parse(key) as Query);
  }, [key]);
  const retry = useCallback(() => subscription.current?.retry(), []);
  useEffect(() => {
    const error = told?.view === view ? told.told.error : undefined;
    if (error?.code !== "NotFound") return;
    const timer = setTimeout(retry, lookAgain);
    return () => clearTimeout(timer);
  }, [told, view, retry]);
  return { told: told?.view === view ? told.told : undefined, retry: view ? retry : nothing };
}

function useLoaded<T>({ told, retry }: Answer, read: (told: Told) => T | undefined): Loaded<T> {
  const old = stale(useConnection());
  return useMemo(() => {
    if (told?.error && !told.error.retrying) return { status: "failed", message: told.error.message, code: told.error.code, retry };
    const data = told && read(told);
    if (data === undefined) return told?.error ? { status: "failed", message: told.error.message, code: told.error.code, retry } : { status: "loading" };
    return { status: "ready", data, stale: old };
  }, [told, retry, read, old]);
}

export interface List<Row> {
  rows: readonly Row[];
  /** Where the rows begin in the whole list. */
  offset: number;
  /** How many match, and how many there are. */
  total: number;
  all: number;
}

function readList(told: Told): List<unknown> | undefined {
  return told.held?.kind === "list" ? told.held : undefined;
}

export function useList<Row>(view: string, query: Query): Loaded<List<Row>> {
  return useLoaded(useTold(view, query), readList) as Loaded<List<Row>>;
}

function readValue(told: Told): Record<string, unknown> | undefined {
  return told.held?.kind === "value" ? told.held.value : undefined;
}

export function useValue<T>(view: string, query: Query): Loaded<T> {
  return useLoaded(useTold(view, query), readValue) as Loaded<T>;
}

export interface Lines {
  lines: readonly KeyedLine[];
  lost: number;
  /** Why nothing comes at the moment. */
  trouble?: string;
}

function readLines(told: Told): Lines {
  const held = told.held?.kind === "lines" ? told.held : undefined;
  return { lines: held?.lines ?? [], lost: held?.lost ?? 0, ...(told.error ? { trouble: told.error.message } : {}) };
}

export function useLines(view: string, query: Query): Loaded<Lines> {
  return useLoaded(useTold(view, query), readLines);
}

function readText(told: Told): { text: string; lost: number; trouble?: string } {
  const held = told.held?.kind === "text" ? told.held : undefined;
  return { text: held?.text ?? "", lost: held?.lost ?? 0, ...(told.error ? { trouble: told.error.message } : {}) };
}

export function useText(view: string, query: Query): Loaded<{ text: string; lost: number; trouble?: string }> {
  return useLoaded(useTold(view, query), readText);
}

const windowStep = 100;

/**
 * The part of a long list that must be held so that rows first to last can be shown: in steps, so that not every
 * movement asks the server, and with a margin on both sides.
 */
export function windowFor(first: number, last: number): { offset: number; limit: number } {
  const offset = Math.max(0, Math.floor((first - windowStep / 2) / windowStep) * windowStep);
  const end = Math.ceil((last + 1 + windowStep / 2) / windowStep) * windowStep;
  return { offset, limit: Math.min(500, Math.max(2 * windowStep, end - offset)) };
}
