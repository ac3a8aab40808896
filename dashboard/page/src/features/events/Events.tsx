// SPDX-License-Identifier: Apache-2.0

import { useState } from "react";

import { EventTable } from "../../components/EventTable";
import { Head } from "../../components/Head";
import { Pick } from "../../components/Pick";
import { Search } from "../../components/Search";
import { Empty, View } from "../../components/ViewStates";
import type { EventRow } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { firstWindow } from "../../lib/first";
import { count } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { useList } from "../../lib/use";

const kinds = ["Application", "Device", "Gateway", "Instance", "Repository"];
const sources = [
  { value: "event", label: "What happened" },
  { value: "audit", label: "Who changed what" },
];
const sinces = [
  { value: "15m", label: "Last 15 minutes" },
  { value: "1h", label: "Last hour" },
  { value: "24h", label: "Last day" },
];

/** Everything that happened, and who changed what. */
export function Events() {
  const [get, set] = useFilters();
  const [window, setWindow] = useState(firstWindow);
  const sort = get("sort") || "-time";
  const filter = { search: get("search"), kind: get("kind"), source: get("source"), type: get("type"), since: get("since"), object: get("object") };
  const loaded = useList<EventRow>("events", query({ ...filter, sort, ...window }));
  const filtered = Object.values(filter).some(Boolean);
  const choice = (name: string, label: string, data: { value: string; label: string }[] | string[], width: number) => (
    <Pick w={width} aria-label={label} placeholder={label} data={data} value={get(name) || null} onChange={(v) => set({ [name]: v ?? "" })} clearable clearButtonProps={{ "aria-label": `Clear ${label}` }} />
  );
  return (
    <>
      <Head title="Events">
        <span className="muted" role="status">
          {loaded.status === "ready" && count(loaded.data.total)}
        </span>
        <Search label="Search in events" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <div className="toolbar">
        {choice("source", "Source", sources, 170)}
        {choice("kind", "Kind", kinds, 140)}
        {choice("type", "Type", ["Normal", "Warning", "Change"], 120)}
        {choice("since", "Since", sinces, 160)}
      </div>
      <View what="the events" loaded={loaded} isEmpty={(l) => l.total === 0} empty={<Empty title={filtered ? "No event matches" : "Nothing has happened yet"} />}>
        {(l) => (
          <div className="fill">
            <EventTable list={l} sort={sort} onSort={(by) => set({ sort: by })} onWindow={setWindow} />
          </div>
        )}
      </View>
    </>
  );
}
