// SPDX-License-Identifier: Apache-2.0

import { State } from "../../components/Mark";
import { place } from "../../lib/commits";
import type { Finding } from "../../lib/contract";
import { visible } from "../../lib/links";
import classes from "./Commits.module.css";

/** What is wrong with a commit: where, what, and what to do. */
export function Findings({ findings }: { findings: readonly Finding[] }) {
  return (
    <ul className={classes.findings} aria-label="Findings">
      {findings.map((f, i) => (
        <li key={i}>
          <State word={f.severity}>{f.reason}</State>
          <div>
            {f.file && <code className={classes.place}>{visible(place(f))}</code>}
            {f.object && <span className="muted"> {visible(f.object)}</span>}
            <p>{visible(f.message)}</p>
          </div>
        </li>
      ))}
    </ul>
  );
}
