// SPDX-License-Identifier: Apache-2.0

import { useState } from "react";

import { Head } from "../../components/Head";
import { Mark } from "../../components/Mark";
import { Commit, Ref } from "../../components/Ref";
import { RowTable } from "../../components/RowTable";
import { Search } from "../../components/Search";
import { Bar, describe } from "../../components/Shares";
import { Empty, View } from "../../components/ViewStates";
import type { Column } from "../../components/VirtualTable";
import type { ApplicationRow } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { firstWindow } from "../../lib/first";
import { visible } from "../../lib/links";
import { bytes, count } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { progress } from "../../lib/progress";
import { rowTone } from "../../lib/states";
import { useList } from "../../lib/use";

const columns: Column<ApplicationRow>[] = [
  { id: "name", title: "Application", min: 190, grow: 1.4, sortable: true, cell: (a) => <Named row={a} /> },
  { id: "progress", title: "Progress", min: 120, grow: 1, cell: (a) => <Progress row={a} /> },
  { id: "running", title: "Running", min: 90, sortable: true, number: true, cell: (a) => `${count(a.running)}/${count(a.target)}` },
  { id: "failed", title: "Failed", min: 70, sortable: true, number: true, cell: (a) => count(a.failed) },
  { id: "offline", title: "Offline", min: 70, number: true, cell: (a) => count(a.offline) },
  { id: "state", title: "State", min: 140, grow: 1, sortable: true, cell: (a) => <span title={visible(a.message ?? "")}>{a.suspended ? "Suspended" : a.reason}{a.wave ? `, wave ${a.wave}` : ""}</span> },
  { id: "revision", title: "Commit", min: 90, sortable: true, cell: (a) => <Commit commit={a.revision} /> },
  { id: "module", title: "Module", min: 150, grow: 1.4, cell: (a) => visible(a.module?.path ?? "") },
  { id: "size", title: "Size", min: 80, number: true, cell: (a) => (a.module?.size === undefined ? "–" : bytes(a.module.size)) },
];

function Named({ row }: { row: ApplicationRow }) {
  return (
    <>
      <Mark tone={rowTone(row.state)} /> &nbsp;
      <Ref kind="Application" id={row.id} />
    </>
  );
}

function Progress({ row }: { row: ApplicationRow }) {
  const parts = progress(row);
  return <Bar parts={parts} total={row.target} thin label={`${row.id}: ${describe(parts)}`} />;
}

/** Every application and how far it is. */
export function Applications() {
  const [get, set] = useFilters();
  const [window, setWindow] = useState(firstWindow);
  const sort = get("sort") || "name";
  const loaded = useList<ApplicationRow>("applications", query({ search: get("search"), sort, ...window }));
  return (
    <>
      <Head title="Applications">
        <Search label="Search in applications" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <View
        what="the applications"
        loaded={loaded}
        isEmpty={(l) => l.total === 0}
        empty={<Empty title={get("search") ? "No application matches" : "No application yet"}>{get("search") ? "" : "Getting started has a form that writes one."}</Empty>}
      >
        {(l) => (
          <div className="fill">
            <RowTable label="Applications" columns={columns} list={l} sort={sort} onSort={(by) => set({ sort: by })} onWindow={setWindow} />
          </div>
        )}
      </View>
    </>
  );
}
