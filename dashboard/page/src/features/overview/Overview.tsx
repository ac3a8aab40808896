// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Head } from "../../components/Head";
import { Mark } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { Commit, Ref } from "../../components/Ref";
import { GroupTile, Tiles } from "../../components/Groups";
import { Bar, Legend, describe } from "../../components/Shares";
import { Ago } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { ApplicationRow, CommitRow, GatewayRow, OverviewValue, TopologyValue } from "../../lib/contract";
import { visible } from "../../lib/links";
import { count, plural } from "../../lib/numbers";
import { byPhase, progress } from "../../lib/progress";
import { rowTone } from "../../lib/states";
import { useValue } from "../../lib/use";
import classes from "./Overview.module.css";
import { ProblemList } from "./ProblemList";

/** Is the fleet as git says? One sentence, one colour, and what leads to the cause. */
export function Overview() {
  const loaded = useValue<OverviewValue>("overview", {});
  return (
    <>
      <Head title="Overview" />
      <View
        what="the overview"
        loaded={loaded}
        isEmpty={(v) => v.empty === true}
        empty={
          <Empty title="The fleet is empty">
            Nothing has been pushed yet. <Link href="/start" className="link">Write a first manifest</Link> and push it.
          </Empty>
        }
      >
        {(v) => <Full value={v} />}
      </View>
    </>
  );
}

function Full({ value: v }: { value: OverviewValue }) {
  const problems = v.problems ?? [];
  return (
    <div className={classes.grid}>
      <div className={classes.verdict} data-tone={rowTone(v.state)}>
        <Mark tone={rowTone(v.state)} size={26} />
        <p>{visible(v.sentence)}</p>
      </div>
      {problems.length > 0 && (
        <Panel title="Wrong now" className={classes.wide ?? ""} flush aside={v.moreProblems ? <Link href="/problems" className="link">{plural(v.moreProblems, "more", "more")}</Link> : <Link href="/problems" className="link">All</Link>}>
          <ProblemList problems={problems} />
        </Panel>
      )}
      <Devices value={v} />
      <Applications value={v} />
      <Commits commits={v.commits ?? []} />
      <Gateways value={v} />
      <Sites />
    </div>
  );
}

function Devices({ value: v }: { value: OverviewValue }) {
  const phases = byPhase(v.devices?.phases, (phase) => `/devices?phase=${encodeURIComponent(phase)}`);
  const instances = byPhase(v.instances?.phases);
  const total = v.devices?.total ?? 0;
  return (
    <Panel title="Devices" aside={<Link href="/devices" className="link">{count(total)} in all</Link>}>
      <div className={classes.stack}>
        <Bar parts={phases} total={total} label={`Devices: ${describe(phases)}`} />
        <Legend parts={phases} />
        <h3 className={classes.sub}>Apps on them</h3>
        <Bar parts={instances} label={`Apps on devices: ${describe(instances)}`} />
        <Legend parts={instances} />
      </div>
    </Panel>
  );
}

function Applications({ value: v }: { value: OverviewValue }) {
  const top = v.topApplications ?? [];
  return (
    <Panel title="Applications" flush aside={<Link href="/applications" className="link">{count(v.applications?.total ?? 0)} in all</Link>}>
      {top.length === 0 ? (
        <p className={classes.none}>None yet.</p>
      ) : (
        <ul className={classes.rows}>
          {top.map((a) => (
            <Application key={a.id} row={a} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Application({ row }: { row: ApplicationRow }) {
  const parts = progress(row);
  return (
    <li className={classes.app}>
      <Mark tone={rowTone(row.state)} />
      <span className="cut">
        <Ref kind="Application" id={row.id} />
      </span>
      <Bar parts={parts} total={row.target} thin label={`${row.id}: ${describe(parts)}`} />
      <span className="number">
        {count(row.running)}
        <span className="muted">/{count(row.target)}</span>
      </span>
    </li>
  );
}

function Commits({ commits }: { commits: CommitRow[] }) {
  return (
    <Panel title="Newest commits" flush aside={<Link href="/commits" className="link">All</Link>}>
      {commits.length === 0 ? (
        <p className={classes.none}>No commit has been fetched yet.</p>
      ) : (
        <ul className={classes.rows}>
          {commits.map((c) => (
            <li key={c.id} className={classes.commit}>
              <Mark tone={rowTone(c.state)} />
              <Commit commit={c.commit} />
              <span className="cut">
                <Link href={`/commits/${encodeURIComponent(c.commit)}`}>{visible(c.subject ?? "")}</Link>
              </span>
              <span className="muted nowrap">
                {c.outcome === "Applied" && c.instances ? `${count(c.running ?? 0)}/${count(c.instances)} run` : c.outcome}
              </span>
              <span className="muted nowrap number">
                <Ago at={c.pushedAt ?? c.fetchedAt ?? c.committedAt} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Gateways({ value: v }: { value: OverviewValue }) {
  const top = v.topGateways ?? [];
  return (
    <Panel title="Gateways" flush aside={<Link href="/gateways" className="link">{`${count(v.gateways?.connected ?? 0)} of ${count(v.gateways?.assigned ?? 0)} connected`}</Link>}>
      {top.length === 0 ? (
        <p className={classes.none}>None yet.</p>
      ) : (
        <ul className={classes.rows}>
          {top.map((g) => (
            <Gateway key={g.id} row={g} />
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** The fleet site by site: each device as a mark while they are few. Nothing where devices have no label `site`. */
function Sites() {
  const loaded = useValue<TopologyValue>("topology", { group: "label:site" });
  if (loaded.status !== "ready") return null;
  const groups = loaded.data.gateways.flatMap((g) => g.groups.filter((x) => x.name !== "").map((x) => ({ gateway: g.id, group: x })));
  if (groups.length === 0) return null;
  return (
    <Panel title="Sites" className={classes.wide ?? ""} aside={<Link href="/topology" className="link">Topology</Link>}>
      <Tiles>
        {groups.map(({ gateway, group }) => (
          <GroupTile key={`${gateway} ${group.name}`} group={group} by="label:site" gateway={gateway} />
        ))}
      </Tiles>
    </Panel>
  );
}

function Gateway({ row }: { row: GatewayRow }) {
  const parts = [
    { label: "Connected", value: row.connected, tone: "good" as const },
    { label: "Away", value: Math.max(0, row.assigned - row.connected), tone: "warn" as const },
  ];
  return (
    <li className={classes.app}>
      <Mark tone={rowTone(row.state)} />
      <span className="cut">
        <Ref kind="Gateway" id={row.id} />
      </span>
      <Bar parts={parts} thin label={`${row.id}: ${describe(parts)}`} />
      <span className="number">
        {count(row.connected)}
        <span className="muted">/{count(row.assigned)}</span>
      </span>
    </li>
  );
}
