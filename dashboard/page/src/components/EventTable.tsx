// SPDX-License-Identifier: Apache-2.0

import type { EventRow } from "../lib/contract";
import type { Window } from "../lib/first";
import { visible } from "../lib/links";
import { count } from "../lib/numbers";
import type { List } from "../lib/use";
import { State } from "./Mark";
import { Ref } from "./Ref";
import { RowTable } from "./RowTable";
import { Ago } from "./Time";
import type { Column } from "./VirtualTable";

const columns: Column<EventRow>[] = [
  { id: "time", title: "When", min: 76, sortable: true, cell: (e) => <Ago at={e.time} /> },
  { id: "reason", title: "What", min: 172, grow: 0.6, cell: (e) => <State word={e.type} tone={e.type === "Warning" ? "warn" : "idle"}>{visible(e.reason)}</State> },
  { id: "object", title: "Object", min: 236, grow: 1, cell: (e) => <ObjectOf event={e} /> },
  { id: "message", title: "Message", min: 200, grow: 2.4, cell: (e) => <span title={visible(e.message ?? "")}>{visible(e.message ?? "")}</span> },
  { id: "who", title: "Who", min: 160, grow: 0.7, cell: (e) => <span className="muted">{visible(e.who ?? "")}</span> },
  { id: "count", title: "Times", min: 64, number: true, cell: (e) => ((e.count ?? 1) > 1 ? count(e.count ?? 1) : "") },
];

function ObjectOf({ event: e }: { event: EventRow }) {
  return (
    <>
      <span className="muted">{visible(e.kind)}</span> <Ref kind={e.kind} id={e.object} />
    </>
  );
}

/** What happened, newest first unless it is turned round. */
export function EventTable({ list, sort, onSort, onWindow }: { list: List<EventRow>; sort: string; onSort: (sort: string) => void; onWindow: (change: (before: Window) => Window) => void }) {
  return <RowTable label="Events" columns={columns} list={list} sort={sort} onSort={onSort} onWindow={onWindow} />;
}
