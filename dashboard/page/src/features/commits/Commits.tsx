// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Head } from "../../components/Head";
import { Mark, State } from "../../components/Mark";
import { Commit, Outside } from "../../components/Ref";
import { Search } from "../../components/Search";
import { Ago } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { CommitRow, RepositoryRow } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { visible } from "../../lib/links";
import { count, plural } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { rowTone } from "../../lib/states";
import { duration } from "../../lib/time";
import { useList } from "../../lib/use";
import classes from "./Commits.module.css";
import { Findings } from "./Findings";
import { StageBars } from "./Stages";

/** What was pushed and what became of it: the newest commits of every repository. */
export function Commits() {
  const [get, set] = useFilters();
  const loaded = useList<CommitRow>("commits", query({ search: get("search"), limit: 100 }));
  return (
    <>
      <Head title="Commits">
        <Search label="Search in commits" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <Repositories />
      <View
        what="the commits"
        loaded={loaded}
        isEmpty={(l) => l.rows.length === 0}
        empty={<Empty title={get("search") ? "No commit matches" : "No commit has been fetched yet"}>{get("search") ? "Search looks at subject, author and the commit's name." : "Push to the fleet's repository: it appears here at once."}</Empty>}
      >
        {(l) => (
          <ol className={classes.list}>
            {l.rows.map((c) => (
              <Item key={c.id} commit={c} />
            ))}
          </ol>
        )}
      </View>
    </>
  );
}

function Repositories() {
  const loaded = useList<RepositoryRow>("repositories", { limit: 50 });
  if (loaded.status !== "ready" || loaded.data.rows.length === 0) return null;
  return (
    <ul className={classes.repositories}>
      {loaded.data.rows.map((r) => (
        <li key={r.id}>
          <State word={r.reason ?? "Unknown"} tone={r.suspended ? "idle" : rowTone(r.state)} />
          <b>{r.id}</b>
          <span className="muted">
            <Outside text={r.url ?? ""} />
            {r.branch ? ` · ${visible(r.branch)}` : r.tag ? ` · ${visible(r.tag)}` : ""}
            {r.path && r.path !== "." ? ` · ${visible(r.path)}` : ""}
          </span>
          {r.ready !== "True" && !r.findings?.length && <span className={classes.message}>{visible(r.message ?? "")}</span>}
        </li>
      ))}
    </ul>
  );
}

function Item({ commit: c }: { commit: CommitRow }) {
  const running = c.stages?.find((s) => s.name === "running")?.sinceStart;
  const findings = c.findings ?? [];
  return (
    <li className={classes.item}>
      <div className={classes.mark}>
        <Mark tone={rowTone(c.state)} size={14} />
      </div>
      <div className={classes.about}>
        <Link href={`/commits/${encodeURIComponent(c.commit)}`} className={classes.subject}>
          {visible(c.subject ?? "") || "(no subject)"}
        </Link>
        <div className={classes.small}>
          <Commit commit={c.commit} />
          <span className="cut">{visible((c.author ?? "").replace(/ <.*>$/, ""))}</span>
          <Ago at={c.pushedAt ?? c.fetchedAt ?? c.committedAt} suffix=" ago" />
          {c.changes && <Changes changes={c.changes} />}
        </div>
      </div>
      <div className={classes.outcome}>
        <State word={c.outcome} tone={rowTone(c.state)}>
          {c.outcome === "InProgress" ? "In progress" : c.outcome}
        </State>
        <span className="muted">{c.instances ? `${count(c.running ?? 0)} of ${plural(c.instances, "app")} ${c.instances === 1 ? "runs" : "run"}` : ""}</span>
      </div>
      <div className={classes.stages}>
        {c.stages && running ? (
          <>
            <StageBars stages={c.stages} compact />
            <span className="muted nowrap">
              {duration(running.p50)} <span className={classes.p95}>p95 {duration(running.p95)}</span>
            </span>
          </>
        ) : null}
      </div>
      {findings.length > 0 ? (
        <div className={classes.why}>
          <Findings findings={findings.slice(0, 3)} />
        </div>
      ) : (
        c.state === "error" &&
        (c.reason ?? c.message) && <p className={`${classes.reason ?? ""} ${classes.why ?? ""}`}>{visible([c.reason, c.message].filter(Boolean).join(": "))}</p>
      )}
    </li>
  );
}

function Changes({ changes }: { changes: NonNullable<CommitRow["changes"]> }) {
  const { created = 0, changed = 0, removed = 0 } = changes;
  if (created + changed + removed === 0) return <span>changes nothing</span>;
  return (
    <span className="mono" title={`${count(created)} created, ${count(changed)} changed, ${count(removed)} removed`}>
      {created > 0 && `+${count(created)} `}
      {changed > 0 && `~${count(changed)} `}
      {removed > 0 && `−${count(removed)}`}
    </span>
  );
}
