// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Facts } from "../../components/Facts";
import { Head } from "../../components/Head";
import { State } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { Ref } from "../../components/Ref";
import { Ago } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { CommitValue } from "../../lib/contract";
import { visible } from "../../lib/links";
import { bytes, count, plural, shortCommit, shortDigest } from "../../lib/numbers";
import { parseChange } from "../../lib/paths";
import { rowTone } from "../../lib/states";
import { duration } from "../../lib/time";
import { useValue } from "../../lib/use";
import classes from "./Commits.module.css";
import { Findings } from "./Findings";
import { StageBars } from "./Stages";

/** One commit: who, what it changed, how it travelled, and what went wrong. */
export function CommitPage({ commit }: { commit: string }) {
  const loaded = useValue<CommitValue>("commit", { commit });
  const title = loaded.status === "ready" ? visible(loaded.data.subject ?? "") || shortCommit(commit) : `Commit ${shortCommit(commit)}`;
  return (
    <>
      <Head title={title} above={<Link href="/commits">Commits</Link>} />
      <View what="commit" loaded={loaded} isEmpty={(v) => !v.commit} empty={<Empty title="Nothing is known of this commit" />}>
        {(v) => <Full value={v} />}
      </View>
    </>
  );
}

function Full({ value: v }: { value: CommitValue }) {
  const findings = v.findings ?? [];
  const failures = v.failures ?? [];
  return (
    <div className={classes.page}>
      {findings.length > 0 && (
        <Panel title="What is wrong with it" className={classes.wide ?? ""}>
          <Findings findings={findings} />
        </Panel>
      )}
      <About value={v} />
      <Panel title="From push to running" aside="solid: median, light: 95th percentile">
        {v.stages ? <StageBars stages={v.stages} /> : <p className="muted">It was not applied.</p>}
      </Panel>
      {failures.length > 0 && <Failures value={v} />}
      <Changed value={v} />
      {(v.modules ?? []).length > 0 && <Modules value={v} />}
      {(v.applications ?? []).length > 0 && <Applications value={v} />}
    </div>
  );
}

function About({ value: v }: { value: CommitValue }) {
  return (
    <Panel title="Commit">
      <Facts
        facts={[
          ["State", <State key="s" word={v.outcome} tone={rowTone(v.state)} />],
          ["Reason", visible(v.reason ?? "")],
          ["Message", v.findings?.length ? undefined : visible(v.message ?? "")],
          ["Commit", <code key="c">{v.commit}</code>],
          ["Author", visible(v.author ?? "")],
          ["Repository", v.repository],
          ["Committed", v.committedAt && <Ago key="a" at={v.committedAt} suffix=" ago" />],
          ["Pushed", v.pushedAt && <Ago key="p" at={v.pushedAt} suffix=" ago" />],
          ["Applied", v.appliedAt && <Ago key="x" at={v.appliedAt} suffix=" ago" />],
          ["Apps", v.instances ? `${count(v.running ?? 0)} run, ${count(v.failed ?? 0)} failed, ${count(v.waiting ?? 0)} wait, of ${count(v.instances)} that it put on devices` : "none runs because of this commit now"],
          ["On the device", v.deviceStart && `${duration(v.deviceStart.p50)} from desired state to first instruction, p95 ${duration(v.deviceStart.p95)}`],
        ]}
      />
    </Panel>
  );
}

function Changed({ value: v }: { value: CommitValue }) {
  const c = v.changes;
  const listed = v.changed ?? [];
  const all = (c?.created ?? 0) + (c?.changed ?? 0) + (c?.removed ?? 0);
  return (
    <Panel title="What it changed" aside={c && `${count(c.created ?? 0)} created, ${count(c.changed ?? 0)} changed, ${count(c.removed ?? 0)} removed`}>
      {listed.length === 0 ? (
        <p className="muted">Nothing in the fleet.</p>
      ) : (
        <ul className={classes.changed}>
          {listed.map((text) => {
            const change = parseChange(text);
            if (!change) return <li key={text}>{visible(text)}</li>;
            return (
              <li key={text}>
                <span className={classes.sign} title={change.what} aria-hidden="true">
                  {change.what === "created" ? "+" : change.what === "removed" ? "−" : "~"}
                </span>
                <span className="sr">{change.what} </span>
                <span className="muted">{change.kind}</span> {change.what === "removed" ? visible(change.id) : <Ref kind={change.kind} id={change.id} />}
              </li>
            );
          })}
          {all > listed.length && <li className="muted">and {plural(all - listed.length, "more", "more")}</li>}
        </ul>
      )}
    </Panel>
  );
}

function Failures({ value: v }: { value: CommitValue }) {
  return (
    <Panel title="Failures" className={classes.wide ?? ""} flush aside={v.moreFailures ? `and ${count(v.moreFailures)} more` : undefined}>
      <div className="scroll-x" tabIndex={0} role="group" aria-label="Failures">
        <table className="table">
          <tbody>
            <tr>
              <th>Device</th>
              <th>Application</th>
              <th>State</th>
              <th>Why</th>
            </tr>
          </tbody>
          <tbody>
            {v.failures?.map((f) => (
              <tr key={`${f.device} ${f.application}`}>
                <td>
                  <Ref kind="Device" id={f.device} />
                </td>
                <td>
                  <Ref kind="Application" id={f.application} />
                </td>
                <td>
                  <State word={f.phase} />
                </td>
                <td>{visible([f.reason, f.message].filter(Boolean).join(": "))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Modules({ value: v }: { value: CommitValue }) {
  return (
    <Panel title="Modules" flush>
      <div className="scroll-x" tabIndex={0} role="group" aria-label="Modules">
        <table className="table">
          <tbody>
            <tr>
              <th>Module</th>
              <th className="number">Size</th>
              <th>Imports</th>
            </tr>
          </tbody>
          <tbody>
            {v.modules?.map((m) => (
              <tr key={m.digest}>
                <td>
                  {visible(m.path ?? "")} <code className="muted">{shortDigest(m.digest)}</code>
                </td>
                <td className="number nowrap">{m.size === undefined ? "–" : bytes(m.size)}</td>
                <td className="mono">{(m.imports ?? []).map((i) => visible(i)).join(" ")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Applications({ value: v }: { value: CommitValue }) {
  return (
    <Panel title="Applications" flush>
      <div className="scroll-x" tabIndex={0} role="group" aria-label="Applications">
        <table className="table">
          <tbody>
            <tr>
              <th>Application</th>
              <th className="number">Apps</th>
              <th className="number">Run</th>
              <th className="number">Failed</th>
              <th className="number">To running, p50</th>
              <th className="number">p95</th>
              <th>Slowest</th>
            </tr>
          </tbody>
          <tbody>
            {v.applications?.map((a) => (
              <tr key={a.name}>
                <td>
                  <Ref kind="Application" id={a.name} />
                </td>
                <td className="number">{count(a.instances)}</td>
                <td className="number">{count(a.running)}</td>
                <td className="number">{count(a.failed)}</td>
                <td className="number">{a.toRunning ? duration(a.toRunning.p50) : "–"}</td>
                <td className="number">{a.toRunning ? duration(a.toRunning.p95) : "–"}</td>
                <td>{a.toRunning?.slowest ? <Ref kind="Device" id={a.toRunning.slowest} /> : "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
