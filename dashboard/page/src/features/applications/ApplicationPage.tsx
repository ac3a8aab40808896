// SPDX-License-Identifier: Apache-2.0

import { useState } from "react";
import { Link } from "wouter";

import { Conditions } from "../../components/Conditions";
import { Facts } from "../../components/Facts";
import { Head } from "../../components/Head";
import { State } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { Commit, Ref } from "../../components/Ref";
import { RowTable } from "../../components/RowTable";
import { Bar, Legend, describe } from "../../components/Shares";
import { Ago } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { Column } from "../../components/VirtualTable";
import type { ApplicationValue, InstanceRow, Wave } from "../../lib/contract";
import { firstWindow } from "../../lib/first";
import { visible } from "../../lib/links";
import { bytes, count } from "../../lib/numbers";
import { progress, type Part } from "../../lib/progress";
import { rowTone } from "../../lib/states";
import { duration, parseTime } from "../../lib/time";
import { useList, useValue } from "../../lib/use";
import classes from "./Applications.module.css";

/** One application: its rollout as it happens, and what it is. */
export function ApplicationPage({ namespace, name }: { namespace: string; name: string }) {
  const loaded = useValue<ApplicationValue>("application", { namespace, name });
  return (
    <>
      <Head title={name} above={<Link href="/applications">Applications</Link>}>
        {loaded.status === "ready" && (
          <State word={loaded.data.reason} tone={rowTone(loaded.data.state)}>
            {loaded.data.suspended ? "Suspended" : loaded.data.reason}
          </State>
        )}
      </Head>
      <View what="application" loaded={loaded} isEmpty={(v) => !v.id} empty={<Empty title="There is no such application" />}>
        {(v) => (
          <div className="columns two">
            <Rollout value={v} />
            <About value={v} />
            <Given value={v} />
            <Panel title="Conditions" flush className="wide">
              <Conditions conditions={v.conditions ?? []} />
            </Panel>
            <Instances application={v.id} />
          </div>
        )}
      </View>
    </>
  );
}

function Rollout({ value: v }: { value: ApplicationValue }) {
  const parts = progress(v);
  const waves = v.waves ?? [];
  return (
    <Panel title="Rollout" className="wide" aside={v.rolloutStartedAt && <span>began <Ago at={v.rolloutStartedAt} suffix=" ago" /></span>}>
      <div className={classes.rollout}>
        <div className={classes.figures}>
          <Figure name="Target" value={v.target} />
          <Figure name="Updated" value={v.updated} />
          <Figure name="Running" value={v.running} />
          <Figure name="Failed" value={v.failed} bad={v.failed > 0} />
          <Figure name="Offline" value={v.offline} />
          {v.excluded ? <Figure name="Does not fit" value={v.excluded} /> : null}
        </div>
        <Bar parts={parts} total={v.target} label={describe(parts)} />
        <Legend parts={parts} />
        {v.message && <p className={classes.message}>{visible(v.message)}</p>}
        {waves.length > 0 && <Waves waves={waves} waiting={v.waiting ?? 0} />}
      </div>
    </Panel>
  );
}

function Figure({ name, value, bad = false }: { name: string; value: number; bad?: boolean }) {
  return (
    <div className={classes.figure} data-bad={bad || undefined}>
      <b>{count(value)}</b>
      <span>{name}</span>
    </div>
  );
}

function waveParts(w: Wave): Part[] {
  return [
    { label: "Running", value: w.running, tone: "good" },
    { label: "On the way", value: w.waiting, tone: "busy" },
    { label: "Failed", value: w.failed, tone: "bad" },
  ];
}

/** Wave by wave: how many devices got the change at once, and what became of it. */
function Waves({ waves, waiting }: { waves: readonly Wave[]; waiting: number }) {
  const most = Math.max(waiting, ...waves.map((w) => w.devices));
  return (
    <table className={classes.waves}>
      <tbody>
        <tr>
          <th>Wave</th>
          <th>
            <span className="sr">Devices as a bar</span>
          </th>
          <th className="number">Devices</th>
          <th className="number">Running</th>
          <th className="number">Failed</th>
          <th className="number">Took</th>
        </tr>
      </tbody>
      <tbody>
        {waves.map((w) => (
          <tr key={w.wave}>
            <td>{w.wave}</td>
            <td className={classes.lane}>
              <div style={{ width: `${(w.devices / most) * 100}%` }}>
                <Bar parts={waveParts(w)} total={w.devices} label={`Wave ${w.wave}: ${describe(waveParts(w))}`} />
              </div>
            </td>
            <td className="number">{count(w.devices)}</td>
            <td className="number">{count(w.running)}</td>
            <td className="number">{count(w.failed)}</td>
            <td className="number muted">{w.waiting > 0 ? "…" : took(w)}</td>
          </tr>
        ))}
        {waiting > 0 && (
          <tr>
            <td className="muted">later</td>
            <td className={classes.lane}>
              <div style={{ width: `${(waiting / most) * 100}%` }}>
                <Bar parts={[{ label: "Not yet", value: waiting, tone: "unknown" }]} label={`${count(waiting)} not yet`} />
              </div>
            </td>
            <td className="number">{count(waiting)}</td>
            <td />
            <td />
            <td />
          </tr>
        )}
      </tbody>
    </table>
  );
}

function took(w: Wave): string {
  const from = parseTime(w.at);
  const to = parseTime(w.lastRunningAt);
  return from === undefined || to === undefined ? "–" : duration(Math.max(0, to - from));
}

function About({ value: v }: { value: ApplicationValue }) {
  return (
    <Panel title="What runs">
      <Facts
        facts={[
          ["Commit", <Commit key="c" commit={v.revision} />],
          ["Module", visible(v.module?.path ?? "")],
          ["Digest", v.module?.digest && <code key="d">{v.module.digest}</code>],
          ["Size", v.module?.size !== undefined && bytes(v.module.size)],
          ["Manifest", v.source && <code key="s">{visible(v.source)}</code>],
          ["Runs on", v.selector ? <code key="l">{visible(v.selector)}</code> : "every device of the namespace"],
          ["Namespace", v.metadata.namespace],
          ["At once", v.maxUnavailable !== undefined && `at most ${v.maxUnavailable} without it`],
          ["Deadline", v.progressDeadlineSeconds !== undefined && `${duration(v.progressDeadlineSeconds * 1000)} a wave`],
          ["Restart", v.restartPolicy],
        ]}
      />
    </Panel>
  );
}

function Given({ value: v }: { value: ApplicationValue }) {
  const config = Object.entries(v.config ?? {});
  return (
    <Panel title="What it is given">
      <Facts
        facts={[
          ["Permissions", v.permissions?.length ? v.permissions.join(", ") : "none"],
          ["Memory", v.limits?.memory !== undefined && bytes(v.limits.memory)],
          ["Stack", v.limits?.stack !== undefined && bytes(v.limits.stack)],
          ["Fuel", v.limits?.fuel ? `${count(v.limits.fuel)} a second` : "what is left over"],
          ...config.map(([k, value]): [string, React.ReactNode] => [k, <code key={k}>{visible(value)}</code>]),
        ]}
      />
    </Panel>
  );
}

const columns: Column<InstanceRow>[] = [
  { id: "device", title: "Device", min: 170, grow: 1.2, sortable: true, cell: (i) => <Ref kind="Device" id={i.device} /> },
  { id: "phase", title: "Phase", min: 130, sortable: true, cell: (i) => <State word={i.phase} tone={rowTone(i.state)} /> },
  { id: "reason", title: "Why", min: 140, grow: 1.5, cell: (i) => visible([i.reason, i.message].filter(Boolean).join(": ")) },
  { id: "restarts", title: "Restarts", min: 90, sortable: true, number: true, cell: (i) => count(i.restarts ?? 0) },
  { id: "start", title: "Start", min: 80, number: true, cell: (i) => (i.startMilliseconds === undefined ? "–" : duration(i.startMilliseconds)) },
  { id: "runningAt", title: "Runs for", min: 100, sortable: true, cell: (i) => (i.phase === "Running" ? <Ago at={i.runningAt} /> : "–") },
  { id: "revision", title: "Commit", min: 100, cell: (i) => <Commit commit={i.revision} /> },
];

function Instances({ application }: { application: string }) {
  const [window, setWindow] = useState(firstWindow);
  const [sort, setSort] = useState("state");
  const loaded = useList<InstanceRow>("instances", { application, sort, ...window });
  return (
    <Panel title="On devices" className="wide" aside={loaded.status === "ready" ? count(loaded.data.total) : undefined}>
      <View what="the devices" loaded={loaded} isEmpty={(l) => l.total === 0} empty={<Empty title="It is on no device" />}>
        {(l) => (
          <div style={{ height: Math.min(480, 38 + l.total * 33) }}>
            <RowTable label="Instances" columns={columns} list={l} sort={sort} onSort={setSort} onWindow={setWindow} />
          </div>
        )}
      </View>
    </Panel>
  );
}
