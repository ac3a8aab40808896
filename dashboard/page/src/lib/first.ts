// SPDX-License-Identifier: Apache-2.0

// What the views ask for that people open first. The page asks for it before the view is there: see main.ts.

import type { Query } from "./contract";
import { query } from "./paths";

/** The part of a list that is asked for. */
export interface Window {
  offset: number;
  limit: number;
}

export const firstWindow: Window = { offset: 0, limit: 200 };

/** A parameter of the address; "" when it is not there. */
type Get = (name: string) => string;

export const deviceFilters = ["search", "label", "phase", "board", "gateway", "application", "state"] as const;

export function devicesQuery(get: Get, window: Window): Query {
  return query({ ...Object.fromEntries(deviceFilters.map((f) => [f, get(f)])), sort: get("sort") || "name", ...window });
}

export function topologyQuery(get: Get): Query {
  return query({ group: get("group") || "label:site", search: get("search"), phase: get("phase") });
}

/** What the view at an address will ask for first; undefined when that is not known here. */
export function firstQuestion(location: { pathname: string; search: string }): { view: string; query: Query } | undefined {
  const params = new URLSearchParams(location.search);
  const get = (name: string) => params.get(name) ?? "";
  switch (location.pathname) {
    case "/":
      return { view: "overview", query: {} };
    case "/devices":
      return { view: "devices", query: devicesQuery(get, firstWindow) };
    case "/topology":
      return { view: "topology", query: topologyQuery(get) };
    default:
      return undefined;
  }
}
