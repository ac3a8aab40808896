// SPDX-License-Identifier: Apache-2.0

import { useState } from "react";
import { Link } from "wouter";

import { Head } from "../../components/Head";
import { Mark } from "../../components/Mark";
import { Ref } from "../../components/Ref";
import { RowTable } from "../../components/RowTable";
import { Search } from "../../components/Search";
import { Bar } from "../../components/Shares";
import { Empty, View } from "../../components/ViewStates";
import type { Column } from "../../components/VirtualTable";
import type { GatewayRow } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { firstWindow } from "../../lib/first";
import { visible } from "../../lib/links";
import { count } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { rowTone } from "../../lib/states";
import { useList } from "../../lib/use";

const columns: Column<GatewayRow>[] = [
  { id: "name", title: "Gateway", min: 170, grow: 1, sortable: true, cell: (g) => <Named row={g} /> },
  { id: "bar", title: "Connections", min: 120, grow: 1, cell: (g) => <Connections row={g} /> },
  { id: "connected", title: "Connected", min: 100, sortable: true, number: true, cell: (g) => count(g.connected) },
  { id: "assigned", title: "Assigned", min: 100, sortable: true, number: true, cell: (g) => count(g.assigned) },
  { id: "state", title: "State", min: 120, grow: 1, sortable: true, cell: (g) => <span title={visible(g.message ?? "")}>{g.reason}</span> },
  { id: "address", title: "Listens on", min: 150, cell: (g) => g.address },
  { id: "endpoints", title: "Devices are told", min: 160, grow: 1, cell: (g) => g.endpoints?.join(", ") },
  { id: "version", title: "Version", min: 100, grow: 0.6, cell: (g) => g.version },
];

function Named({ row }: { row: GatewayRow }) {
  return (
    <>
      <Mark tone={rowTone(row.state)} /> &nbsp;
      <Ref kind="Gateway" id={row.id} />
    </>
  );
}

function Connections({ row }: { row: GatewayRow }) {
  return (
    <Bar
      thin
      label={`${row.id}: ${count(row.connected)} of ${count(row.assigned)} connected`}
      parts={[
        { label: "Connected", value: row.connected, tone: "good" },
        { label: "Away", value: Math.max(0, row.assigned - row.connected), tone: "warn" },
      ]}
    />
  );
}

/** Where devices connect. */
export function Gateways() {
  const [get, set] = useFilters();
  const [window, setWindow] = useState(firstWindow);
  const sort = get("sort") || "name";
  const loaded = useList<GatewayRow>("gateways", query({ search: get("search"), sort, ...window }));
  return (
    <>
      <Head title="Gateways">
        <Link href="/system" className="link">
          The installation's processes
        </Link>
        <Search label="Search in gateways" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <View what="the gateways" loaded={loaded} isEmpty={(l) => l.total === 0} empty={<Empty title={get("search") ? "No gateway matches" : "No gateway yet"}>Devices need one to connect to: a manifest of kind Gateway.</Empty>}>
        {(l) => (
          <div className="fill">
            <RowTable label="Gateways" columns={columns} list={l} sort={sort} onSort={(by) => set({ sort: by })} onWindow={setWindow} />
          </div>
        )}
      </View>
    </>
  );
}
