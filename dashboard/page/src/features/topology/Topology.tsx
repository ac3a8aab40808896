// SPDX-License-Identifier: Apache-2.0

import { Select } from "@mantine/core";
import { Link } from "wouter";

import { Head } from "../../components/Head";
import { Mark } from "../../components/Mark";
import { Ref } from "../../components/Ref";
import { Search } from "../../components/Search";
import { Bar, describe } from "../../components/Shares";
import { Empty, View } from "../../components/ViewStates";
import type { FacetsValue, TopologyGroup, TopologyValue } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { visible } from "../../lib/links";
import { count, plural } from "../../lib/numbers";
import { pathOf, query } from "../../lib/paths";
import { byState } from "../../lib/progress";
import { rowTone, rowWord } from "../../lib/states";
import { useValue } from "../../lib/use";
import classes from "./Topology.module.css";

/** Gateways and the devices behind them, in groups: each device while they are few, shares when they are many. */
export function Topology() {
  const [get, set] = useFilters();
  const group = get("group") || "label:site";
  const loaded = useValue<TopologyValue>("topology", query({ group, search: get("search"), phase: get("phase") }));
  return (
    <>
      <Head title="Topology">
        <Grouping group={group} onChange={(g) => set({ group: g })} />
        <Search label="Search in devices" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <View what="the topology" loaded={loaded} isEmpty={(v) => v.gateways.length === 0} empty={<Empty title={get("search") ? "No device matches" : "No gateway and no device yet"} />}>
        {(v) => (
          <div className={classes.map}>
            {v.gateways.map((g) => (
              <Gateway key={g.id} gateway={g} group={v.group} />
            ))}
          </div>
        )}
      </View>
    </>
  );
}

function Grouping({ group, onChange }: { group: string; onChange: (group: string) => void }) {
  const loaded = useValue<FacetsValue>("facets", {});
  const labels = loaded.status === "ready" ? Object.keys(loaded.data.labels ?? {}) : [];
  const keys = [...new Set([...labels.map((l) => `label:${l}`), ...(group.startsWith("label:") ? [group] : [])])].sort();
  return (
    <Select
      size="xs"
      w={180}
      aria-label="Group by"
      data={[...keys.map((k) => ({ value: k, label: `by label ${k.slice(6)}` })), { value: "board", label: "by board" }, { value: "namespace", label: "by namespace" }, { value: "phase", label: "by phase" }]}
      value={group}
      onChange={(v) => v && onChange(v)}
      allowDeselect={false}
    />
  );
}

function Gateway({ gateway: g, group }: { gateway: TopologyValue["gateways"][number]; group: string }) {
  return (
    <section className={classes.gateway} aria-label={g.id || "Without a gateway"}>
      <div className={classes.node}>
        <h2>
          <Mark tone={g.id ? rowTone(g.state) : "unknown"} size={13} /> {g.id ? <Ref kind="Gateway" id={g.id} /> : "No gateway"}
        </h2>
        <p>{g.id ? `${count(g.connected ?? 0)} of ${count(g.assigned ?? 0)} connected` : plural(g.devices, "device")}</p>
        {g.id && g.assigned !== g.devices && <p>{plural(g.devices, "device")} in view</p>}
      </div>
      <ul className={classes.groups}>
        {g.groups.map((x) => (
          <Group key={x.name} group={x} by={group} gateway={g.id} />
        ))}
        {g.moreGroups ? <li className={classes.more}>and {plural(g.moreGroups, "more group")}</li> : null}
      </ul>
    </section>
  );
}

function filterFor(by: string, name: string, gateway: string): string {
  const params = new URLSearchParams();
  if (by.startsWith("label:")) params.set("label", name === "" ? `!${by.slice(6)}` : `${by.slice(6)}=${name}`);
  else if (by === "board" || by === "phase" || by === "namespace") params.set(by, name);
  if (gateway) params.set("gateway", gateway);
  return `/devices?${params.toString()}`;
}

function Group({ group: x, by, gateway }: { group: TopologyGroup; by: string; gateway: string }) {
  const parts = byState(x.states);
  return (
    <li className={classes.group} data-large={x.count > 1_000 || undefined}>
      <div className={classes.title}>
        <Link href={filterFor(by, x.name, gateway)} className="cut">
          {x.name === "" ? "without" : visible(x.name)}
        </Link>
        <span className="muted number">{count(x.count)}</span>
      </div>
      {x.devices ? (
        <ul className={classes.devices} aria-label="Devices">
          {x.devices.map((d) => (
            <li key={d.id}>
              <Link href={pathOf("Device", d.id) ?? "/devices"} title={`${d.id}: ${rowWord(d.state).toLowerCase()}`}>
                <Mark tone={rowTone(d.state)} size={12} />
                <span className="sr">{`${d.id}: ${rowWord(d.state).toLowerCase()}`}</span>
              </Link>
            </li>
          ))}
        </ul>
      ) : (
        <>
          <Bar parts={parts} total={x.count} label={describe(parts)} />
          <div className={classes.wrong}>
            {parts
              .filter((p) => p.tone !== "good")
              .map((p) => (
                <span key={p.label}>
                  <Mark tone={p.tone} size={10} /> {count(p.value)} {p.label.toLowerCase()}
                </span>
              ))}
            {parts.every((p) => p.tone === "good") && <span>all as git says</span>}
          </div>
        </>
      )}
      {x.wanted !== undefined && (
        <div className={classes.apps}>
          {count(x.running ?? 0)} of {count(x.wanted)} apps run
        </div>
      )}
    </li>
  );
}
