// SPDX-License-Identifier: Apache-2.0

import { Conditions } from "../../components/Conditions";
import { Facts } from "../../components/Facts";
import { State } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { Commit, Ref } from "../../components/Ref";
import { Ago } from "../../components/Time";
import type { Crash, DeviceValue, InstanceRow, LiveApp } from "../../lib/contract";
import { visible } from "../../lib/links";
import { bytes, count } from "../../lib/numbers";
import { rowTone } from "../../lib/states";
import { duration } from "../../lib/time";
import classes from "./Devices.module.css";

/** What runs on a device and how the device is. */
export function Summary({ device: d }: { device: DeviceValue }) {
  const crashes = d.crashes ?? [];
  return (
    <div className="columns three">
      <Instances instances={d.instances ?? []} live={d.live?.apps ?? []} />
      {(crashes.length > 0 || d.lastCrash) && <Crashes crashes={crashes} last={d.lastCrash} />}
      <About device={d} />
      <Connection device={d} />
      <Board device={d} />
      <Panel title="Conditions" flush className="wide">
        <Conditions conditions={d.conditions ?? []} />
      </Panel>
    </div>
  );
}

function Instances({ instances, live }: { instances: readonly InstanceRow[]; live: readonly LiveApp[] }) {
  if (instances.length === 0)
    return (
      <Panel title="Apps" className="wide">
        <p className="muted">No application selects this device.</p>
      </Panel>
    );
  return (
    <Panel title="Apps" flush className="wide">
      <div className="scroll-x" tabIndex={0} role="group" aria-label="Apps">
        <table className="table">
          <tbody>
            <tr>
              <th>Application</th>
              <th>State</th>
              <th>Since</th>
              <th className="number">Restarts</th>
              <th className="number">Start</th>
              <th className="number">Memory</th>
              <th className="number">Stack</th>
              <th>Values</th>
              <th>Commit</th>
            </tr>
          </tbody>
          <tbody>
            {instances.map((i) => (
              <Instance key={i.id} instance={i} live={live.find((a) => i.application.endsWith(`/${a.name}`))} />
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Instance({ instance: i, live }: { instance: InstanceRow; live: LiveApp | undefined }) {
  return (
    <tr>
      <td className="nowrap">
        <Ref kind="Application" id={i.application} />
      </td>
      <td>
        <State word={i.phase} tone={rowTone(i.state)} />
        {(i.reason ?? i.message) && i.state !== "ok" && <div className="muted">{visible([i.reason, i.message].filter(Boolean).join(": "))}</div>}
      </td>
      <td className="nowrap">
        <Ago at={i.runningAt ?? i.deliveredAt ?? i.issuedAt} />
      </td>
      <td className="number">{count(live?.restarts ?? i.restarts ?? 0)}</td>
      <td className="number nowrap">{i.startMilliseconds === undefined ? "–" : duration(i.startMilliseconds)}</td>
      <td className="number nowrap">{live?.memory === undefined ? "–" : bytes(live.memory)}</td>
      <td className="number nowrap">{live?.stack === undefined ? "–" : bytes(live.stack)}</td>
      <td>
        <div className={classes.values}>
          {Object.entries(live?.values ?? {}).map(([k, v]) => (
            <span key={k} className="nowrap">
              <span className="muted">{visible(k)}</span> {count(v)}
            </span>
          ))}
        </div>
      </td>
      <td>
        <Commit commit={i.revision} />
      </td>
    </tr>
  );
}

function hex(n: number | undefined): string {
  return n === undefined ? "–" : `0x${n.toString(16).padStart(8, "0")}`;
}

function Crashes({ crashes, last }: { crashes: readonly Crash[]; last: string | undefined }) {
  return (
    <Panel title="Crash reports" flush className="wide">
      {crashes.length === 0 ? (
        <p className={classes.note}>{visible(last ?? "")}</p>
      ) : (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Crash reports">
          <table className="table">
            <tbody>
              <tr>
                <th>When</th>
                <th>What</th>
                <th>App</th>
                <th>pc</th>
                <th>lr</th>
                <th>Address</th>
                <th className="number">After</th>
              </tr>
            </tbody>
            <tbody>
              {crashes.map((c, i) => (
                <tr key={i}>
                  <td className="nowrap">
                    <Ago at={c.at} suffix=" ago" />
                  </td>
                  <td>
                    <State word={c.code} tone="bad">
                      {visible(c.code)}
                    </State>
                  </td>
                  <td>{visible(c.app ?? "")}</td>
                  <td className="mono">{hex(c.pc)}</td>
                  <td className="mono">{hex(c.lr)}</td>
                  <td className="mono">{hex(c.address)}</td>
                  <td className="number nowrap">{c.uptime === undefined ? "–" : duration(c.uptime)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function About({ device: d }: { device: DeviceValue }) {
  const overrides = Object.entries(d.config ?? {}).flatMap(([app, values]) => Object.entries(values).map(([k, v]) => `${app}: ${k}=${v}`));
  return (
    <Panel title="As git has it">
      <Facts
        facts={[
          ["Commit", d.revision && <Commit key="c" commit={d.revision} />],
          ["Manifest", d.source && <code key="m">{visible(d.source)}</code>],
          ["Namespace", d.metadata.namespace],
          [
            "Labels",
            Object.entries(d.metadata.labels ?? {}).map(([k, v]) => (
              <span key={k} className={classes.label}>
                {visible(k)}={visible(v)}
              </span>
            )),
          ],
          ["Kind", d.backend],
          ["Power", d.power],
          ["Quarantine", d.quarantine ? "its connection is refused" : undefined],
          ["Own config", overrides.length > 0 ? overrides.map((o) => <div key={o}>{visible(o)}</div>) : undefined],
        ]}
      />
    </Panel>
  );
}

function Connection({ device: d }: { device: DeviceValue }) {
  const c = d.connection;
  const live = d.live;
  const b = d.backendStatus;
  return (
    <Panel title="Connection" aside={d.liveError ? <span title={d.liveError}>no live figures</span> : live?.heartbeatAt && <span>heard <Ago at={live.heartbeatAt} suffix=" ago" /></span>}>
      <Facts
        facts={[
          ["Gateway", d.gateway && <Ref key="g" kind="Gateway" id={d.gateway} />],
          [c?.connected ? "Connected" : "Away", c?.since && <Ago key="s" at={c.since} suffix=" ago" />],
          ["From", live?.remote],
          ["Firmware", c?.firmware && visible(c.firmware)],
          ["Protocol", c?.protocol],
          ["Boots", c?.boots !== undefined && count(c.boots)],
          ["Up for", live?.uptime !== undefined && duration(live.uptime)],
          ["Received", live?.bytesIn !== undefined && bytes(live.bytesIn)],
          ["Sent", live?.bytesOut !== undefined && bytes(live.bytesOut)],
          ["In sync", live?.inSync !== undefined && (live.inSync ? `yes, generation ${count(live.generation ?? 0)}` : "not yet")],
          ["Board process", b?.phase && <State key="b" word={b.phase} />],
          ["Why", b && visible([b.reason, b.message].filter(Boolean).join(": "))],
          ["Last exit", b?.lastExit && visible(b.lastExit)],
          ["No live figures", d.liveError && visible(d.liveError)],
        ]}
      />
    </Panel>
  );
}

function Board({ device: d }: { device: DeviceValue }) {
  const f = d.boardFacts;
  const m = d.live?.metrics ?? {};
  return (
    <Panel title="Board" aside={d.board}>
      <Facts
        facts={[
          ["Board", f?.title],
          ["Core", f?.core && `${f.core}${f.fpu ? ", with FPU" : ""}`],
          ["Flash", f?.flashBytes !== undefined && bytes(f.flashBytes)],
          ["RAM", f?.ramBytes !== undefined && bytes(f.ramBytes)],
          ["For apps", f?.appMemoryBytes !== undefined && `${bytes(f.appMemoryBytes)}, at most ${count(f.maxApps ?? 0)} at once`],
          ["Modules", f?.maxModuleBytes !== undefined && `at most ${bytes(f.maxModuleBytes)} each, ${bytes(f.moduleStorageBytes ?? 0)} in all`],
          ["Connects by", f?.connection],
          ["Offers", f?.permissions?.join(", ")],
          ...Object.entries(m).map(([k, v]): [string, string] => [visible(k.replaceAll("_", " ")), count(v)]),
        ]}
      />
    </Panel>
  );
}
