// SPDX-License-Identifier: Apache-2.0

import { GroupTile, Tiles } from "../../components/Groups";
import { Head } from "../../components/Head";
import { Mark } from "../../components/Mark";
import { Pick } from "../../components/Pick";
import { Ref } from "../../components/Ref";
import { Search } from "../../components/Search";
import { Empty, View } from "../../components/ViewStates";
import type { FacetsValue, TopologyValue } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { topologyQuery } from "../../lib/first";
import { compareNames } from "../../lib/names";
import { count, plural } from "../../lib/numbers";
import { rowTone } from "../../lib/states";
import { useValue } from "../../lib/use";
import classes from "./Topology.module.css";

/** Gateways and the devices behind them, in groups: each device while they are few, shares when they are many. */
export function Topology() {
  const [get, set] = useFilters();
  const group = get("group") || "label:site";
  const loaded = useValue<TopologyValue>("topology", topologyQuery(get));
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
              <Gateway key={g.id} gateway={g} group={v.group} total={v.total} />
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
  const keys = [...new Set([...labels.map((l) => `label:${l}`), ...(group.startsWith("label:") ? [group] : [])])].sort(compareNames);
  return (
    <Pick
      w={180}
      aria-label="Group by"
      data={[...keys.map((k) => ({ value: k, label: `by label ${k.slice(6)}` })), { value: "board", label: "by board" }, { value: "namespace", label: "by namespace" }, { value: "phase", label: "by phase" }]}
      value={group}
      onChange={(v) => v && onChange(v)}
      allowDeselect={false}
    />
  );
}

// So many devices have their names in the map.
const namedUpTo = 64;

function Gateway({ gateway: g, group, total }: { gateway: TopologyValue["gateways"][number]; group: string; total: number }) {
  return (
    <section className={classes.gateway} aria-label={g.id || "Without a gateway"}>
      <div className={classes.node}>
        <h2>
          <Mark tone={g.id ? rowTone(g.state) : "unknown"} size={13} /> {g.id ? <Ref kind="Gateway" id={g.id} /> : "No gateway"}
        </h2>
        <p>{g.id ? `${count(g.connected ?? 0)} of ${count(g.assigned ?? 0)} connected` : plural(g.devices, "device")}</p>
        {g.id && g.assigned !== g.devices && <p>{plural(g.devices, "device")} in view</p>}
      </div>
      <div className={classes.groups}>
        <Tiles>
          {g.groups.map((x) => (
            <GroupTile key={x.name} group={x} by={group} gateway={g.id} named={total <= namedUpTo} />
          ))}
          {g.moreGroups ? <li className={classes.more}>and {plural(g.moreGroups, "more group")}</li> : null}
        </Tiles>
      </div>
    </section>
  );
}
