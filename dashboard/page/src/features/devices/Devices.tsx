// SPDX-License-Identifier: Apache-2.0

import { Button, TextInput } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";

import { Head } from "../../components/Head";
import { State } from "../../components/Mark";
import { PickSome } from "../../components/Pick";
import { Commit, Ref } from "../../components/Ref";
import { RowTable } from "../../components/RowTable";
import { Search } from "../../components/Search";
import { Ago } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { Column } from "../../components/VirtualTable";
import type { DeviceRow, FacetsValue } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { deviceFilters, devicesQuery, firstWindow } from "../../lib/first";
import { visible } from "../../lib/links";
import { compareNames } from "../../lib/names";
import { count } from "../../lib/numbers";
import { rowTone } from "../../lib/states";
import { useList, useValue } from "../../lib/use";
import classes from "./Devices.module.css";

const columns: Column<DeviceRow>[] = [
  { id: "name", title: "Device", min: 168, grow: 1.3, sortable: true, cell: (d) => <Ref kind="Device" id={d.id} /> },
  { id: "phase", title: "Phase", min: 108, sortable: true, cell: (d) => <State word={d.phase} tone={rowTone(d.state)} /> },
  { id: "running", title: "Apps", min: 66, sortable: true, number: true, cell: (d) => `${count(d.running)}/${count(d.wanted)}` },
  { id: "reason", title: "Why", min: 76, grow: 1.6, cell: (d) => <Why row={d} /> },
  { id: "board", title: "Board", min: 165, grow: 0.8, sortable: true, cell: (d) => <BoardOf row={d} /> },
  { id: "gateway", title: "Gateway", min: 100, grow: 0.7, sortable: true, cell: (d) => (d.gateway ? <Ref kind="Gateway" id={d.gateway} /> : "–") },
  { id: "labels", title: "Labels", min: 192, grow: 1.4, cell: (d) => <Labels labels={d.metadata.labels ?? {}} /> },
  { id: "since", title: "Since", min: 62, sortable: true, number: true, cell: (d) => <Ago at={d.since} /> },
  { id: "revision", title: "Commit", min: 84, cell: (d) => <Commit commit={d.revision} /> },
];

function Why({ row }: { row: DeviceRow }) {
  if (row.state === "ok") return null;
  return <span title={visible(row.message ?? "")}>{visible([row.reason, row.message].filter(Boolean).join(": "))}</span>;
}

function BoardOf({ row }: { row: DeviceRow }) {
  return (
    <>
      {row.board} <span className="muted">{row.backend}</span>
    </>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  return (
    <>
      {Object.entries(labels).map(([k, v]) => (
        <span key={k} className={classes.label}>
          {visible(k)}={visible(v)}
        </span>
      ))}
    </>
  );
}

const filters = ["phase", "board", "gateway"] as const;

/** All devices, ten thousand of them too: filtered, sorted and cut into windows by the server. */
export function Devices() {
  const [get, set] = useFilters();
  const [window, setWindow] = useState(firstWindow);
  const sort = get("sort") || "name";
  const loaded = useList<DeviceRow>("devices", devicesQuery(get, window));
  const filtered = deviceFilters.some((f) => get(f));
  const clear = () => set(Object.fromEntries(deviceFilters.map((f) => [f, ""])));
  return (
    <>
      <Head title="Devices">
        <span className="muted" role="status">
          {loaded.status === "ready" && (loaded.data.total === loaded.data.all ? count(loaded.data.all) : `${count(loaded.data.total)} of ${count(loaded.data.all)}`)}
        </span>
        <Search label="Search in devices" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <div className="toolbar">
        <Facets get={get} set={set} />
        {filtered && (
          <Button size="xs" variant="subtle" onClick={clear}>
            Clear filters
          </Button>
        )}
      </div>
      <View
        what="the devices"
        loaded={loaded}
        isEmpty={(l) => l.total === 0}
        empty={
          filtered ? (
            <Empty title="No device matches">Take a filter away, or clear them all.</Empty>
          ) : (
            <Empty title="No device yet">
              <Link href="/start" className="link">Write a manifest</Link> and push it.
            </Empty>
          )
        }
      >
        {(l) => (
          <div className="fill">
            <RowTable label="Devices" columns={columns} list={l} sort={sort} onSort={(by) => set({ sort: by })} onWindow={setWindow} />
          </div>
        )}
      </View>
    </>
  );
}

function Facets({ get, set }: { get: (name: string) => string; set: (changes: Record<string, string>) => void }) {
  const loaded = useValue<FacetsValue>("facets", {});
  const facets = loaded.status === "ready" ? loaded.data : {};
  const known: Record<(typeof filters)[number], Record<string, number> | undefined> = { phase: facets.phases, board: facets.boards, gateway: facets.gateways };
  return (
    <>
      {filters.map((f) => {
        const chosen = get(f) ? get(f).split(",") : [];
        const options = [...new Set([...Object.keys(known[f] ?? {}), ...chosen])].sort(compareNames);
        return (
          <PickSome
            key={f}
            w={[150, 190][chosen.length] ?? 250}
            aria-label={`Filter by ${f}`}
            placeholder={chosen.length > 0 ? "" : f.charAt(0).toUpperCase() + f.slice(1)}
            data={options.map((o) => ({ value: o, label: `${o}  ${known[f]?.[o] === undefined ? "" : count(known[f][o])}` }))}
            value={chosen}
            onChange={(v) => set({ [f]: v.join(",") })}
            clearable
            comboboxProps={{ shadow: "md" }}
            clearButtonProps={{ "aria-label": `Clear ${f}` }}
          />
        );
      })}
      <LabelFilter value={get("label")} onChange={(label) => set({ label })} facets={facets} />
    </>
  );
}

/** A label selector as kubectl takes it; what the fleet has is offered. */
function LabelFilter({ value, onChange, facets }: { value: string; onChange: (label: string) => void; facets: FacetsValue }) {
  const [text, setText] = useState(value);
  const [before, setBefore] = useState(value);
  if (before !== value) {
    setBefore(value);
    setText(value);
  }
  const offered = Object.entries(facets.labels ?? {}).flatMap(([k, values]) => Object.keys(values).map((v) => `${k}=${v}`)).sort(compareNames);
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        onChange(text.trim());
      }}
    >
      <TextInput
        size="xs"
        w={210}
        aria-label="Filter by labels, as kubectl does"
        placeholder="Labels: site=hall-a"
        value={text}
        maxLength={500}
        list="labels"
        onChange={(e) => {
          const given = e.currentTarget.value;
          setText(given);
          if (given === "" || offered.includes(given)) onChange(given);
        }}
        onBlur={() => onChange(text.trim())}
      />
      <datalist id="labels">
        {offered.slice(0, 200).map((o) => (
          <option key={o} value={o} />
        ))}
      </datalist>
    </form>
  );
}
