// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Mark } from "../../components/Mark";
import { Ref } from "../../components/Ref";
import { Ago } from "../../components/Time";
import type { ProblemRow } from "../../lib/contract";
import { visible } from "../../lib/links";
import { count } from "../../lib/numbers";
import { pathOf } from "../../lib/paths";
import { rowTone } from "../../lib/states";
import classes from "./Overview.module.css";

/** What is wrong now; each item leads to its cause. */
export function ProblemList({ problems }: { problems: readonly ProblemRow[] }) {
  return (
    <ul className={classes.rows}>
      {problems.map((p) => (
        <Problem key={p.id} problem={p} />
      ))}
    </ul>
  );
}

function Problem({ problem: p }: { problem: ProblemRow }) {
  const cause = p.cause && pathOf(p.cause.kind, p.cause.id);
  const only = p.objects[0];
  return (
    <li className={classes.problem}>
      <Mark tone={rowTone(p.state)} />
      <div className={classes.what}>
        <span>
          {p.count > 1 || only === undefined ? <b>{`${count(p.count)} ${p.kind.toLowerCase()}s`}</b> : <Ref kind={p.kind} id={only} />} <span className="muted">·</span>{" "}
          {cause ? (
            <Link href={cause} className="link">
              {visible(p.reason ?? "")}
              <span className="sr"> in {`${p.cause?.kind ?? ""} ${p.cause?.id ?? ""}`}</span>
            </Link>
          ) : (
            <b>{visible(p.reason ?? "")}</b>
          )}
        </span>
        <p>{visible(p.message ?? "")}</p>
      </div>
      <span className="muted nowrap">
        <Ago at={p.since} />
      </span>
    </li>
  );
}
