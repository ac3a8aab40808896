// SPDX-License-Identifier: Apache-2.0

// Addresses inside the page. Names come from git: each part is encoded.

const views: Record<string, string> = { Device: "devices", Application: "applications", Gateway: "gateways" };

/** Where an object is shown; undefined for kinds without a page. `id` is "namespace/name", of a Commit its name. */
export function pathOf(kind: string, id: string): string | undefined {
  if (kind === "Commit") return `/commits/${encodeURIComponent(id)}`;
  if (kind === "Repository") return "/commits";
  const slash = id.indexOf("/");
  if (slash <= 0 || slash === id.length - 1) return undefined;
  const namespace = id.slice(0, slash);
  const name = id.slice(slash + 1);
  if (kind === "Instance") {
    // "application.device"
    const dot = name.indexOf(".");
    return dot > 0 ? pathOf("Device", `${namespace}/${name.slice(dot + 1)}`) : undefined;
  }
  if (!Object.hasOwn(views, kind)) return undefined;
  return `/${views[kind] ?? ""}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

export interface Change {
  what: "created" | "changed" | "removed";
  kind: string;
  id: string;
}

/** "~Application/plant/thermostat" → what happened to which object; undefined for other text. */
export function parseChange(text: string): Change | undefined {
  const m = /^([+~-])([A-Za-z]+)\/(.+)$/.exec(text);
  if (!m) return undefined;
  const [, sign, kind, id] = m;
  return { what: sign === "+" ? "created" : sign === "-" ? "removed" : "changed", kind: kind ?? "", id: id ?? "" };
}

/** Parameters without the empty ones. */
export function query(of: Record<string, string | number | undefined>): Record<string, string | number> {
  return Object.fromEntries(Object.entries(of).filter((e): e is [string, string | number] => e[1] !== undefined && e[1] !== ""));
}

/** "name" or "-name" ↔ a column and a direction. */
export function parseSort(text: string): { by: string; descending: boolean } {
  return text.startsWith("-") ? { by: text.slice(1), descending: true } : { by: text, descending: false };
}

export function formatSort(sort: { by: string; descending: boolean }): string {
  return (sort.descending ? "-" : "") + sort.by;
}
