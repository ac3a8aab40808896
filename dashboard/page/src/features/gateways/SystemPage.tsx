// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Chart } from "../../components/Chart";
import { Facts } from "../../components/Facts";
import { Head } from "../../components/Head";
import { Panel } from "../../components/Panel";
import { Empty, View } from "../../components/ViewStates";
import type { Series, SystemValue } from "../../lib/contract";
import { bytes, count } from "../../lib/numbers";
import { hasAny } from "../../lib/series";
import { useValue } from "../../lib/use";

const percent = (v: number) => `${v.toFixed(v < 10 ? 1 : 0)} %`;

const ofProcess: { title: string; lines: readonly (readonly [string, string])[]; format: (v: number) => string }[] = [
  { title: "Processor", lines: [["cpu_percent", "cpu"]], format: percent },
  { title: "Memory", lines: [["memory_bytes", "memory"]], format: bytes },
  { title: "Disk a minute", lines: [["disk_read_bytes", "read"], ["disk_write_bytes", "written"]], format: bytes },
];

const ofMachine: typeof ofProcess = [
  { title: "Processor", lines: [["cpu_percent", "cpu"]], format: percent },
  { title: "Memory in use", lines: [["memory_used_bytes", "memory"]], format: bytes },
  { title: "Network a minute", lines: [["network_in_bytes", "in"], ["network_out_bytes", "out"]], format: bytes },
  { title: "Disk free", lines: [["disk_free_bytes", "free"]], format: bytes },
];

/** What the installation's own processes take. */
export function SystemPage() {
  const loaded = useValue<SystemValue>("system", {});
  return (
    <>
      <Head title="Processes" above={<Link href="/gateways">Gateways</Link>} />
      <View what="the processes" loaded={loaded} isEmpty={(v) => !v.machine && !v.processes?.length && !v.dashboard} empty={<Empty title="Nothing measured yet">A point a minute, while the dashboard runs on the installation's machine.</Empty>}>
        {(v) => <Full value={v} />}
      </View>
    </>
  );
}

function Full({ value: v }: { value: SystemValue }) {
  const history = (series: Series["series"]): Series => ({ start: v.start, step: v.step, series });
  return (
    <div className="columns four">
      {v.machine && <Charts title={`Machine${v.cores ? `, ${count(v.cores)} cores` : ""}`} history={history(v.machine.series)} charts={ofMachine} />}
      {v.processes?.map((p) => <Charts key={`${p.name} ${p.pid ?? ""}`} title={p.name} aside={p.pid === undefined ? undefined : `pid ${p.pid}`} history={history(p.series)} charts={ofProcess} />)}
      {v.dashboard && (
        <Panel title="This dashboard's server">
          <Facts
            facts={[
              ["Viewers", count(v.dashboard.viewers ?? 0)],
              ["Subscriptions", count(v.dashboard.subscriptions ?? 0)],
              ["Rows held", count(v.dashboard.rows ?? 0)],
              ["Messages sent", count(v.dashboard.messages ?? 0)],
              ["Bytes sent", bytes(v.dashboard.bytes ?? 0)],
              ["Viewers dropped", count(v.dashboard.dropped ?? 0)],
            ]}
          />
        </Panel>
      )}
    </div>
  );
}

function Charts({ title, aside, history, charts }: { title: string; aside?: string | undefined; history: Series; charts: typeof ofProcess }) {
  const shown = charts.filter((c) => hasAny(history, c.lines.map(([n]) => n)));
  return (
    <Panel title={title} aside={aside}>
      {shown.length === 0 ? <p className="muted">Nothing measured yet.</p> : shown.map((c) => <Chart key={c.title} title={c.title} history={history} lines={c.lines} format={c.format} height={90} />)}
    </Panel>
  );
}
