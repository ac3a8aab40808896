// SPDX-License-Identifier: Apache-2.0

import type { Stage } from "../../lib/contract";
import { spans } from "../../lib/commits";
import { count } from "../../lib/numbers";
import { duration } from "../../lib/time";
import classes from "./Commits.module.css";

/** The way from the push to the running app: one bar a stage, solid to the median, light to the 95th percentile. */
export function StageBars({ stages, compact = false }: { stages: readonly Stage[]; compact?: boolean }) {
  const list = spans(stages);
  if (compact)
    return (
      <svg className={classes.mini} viewBox={`0 0 100 ${list.length * 3}`} preserveAspectRatio="none" role="img" aria-label={list.map((s) => `${s.name} ${s.p50 === undefined ? "not yet" : duration(s.p50)}`).join(", ")}>
        {list.map((s, i) => (
          <g key={s.name}>
            <rect x={s.from + s.length} y={i * 3} width={s.tail} height="2" className={classes.tail} />
            <rect x={s.from} y={i * 3} width={Math.max(s.length, s.p50 === undefined ? 0 : 0.8)} height="2" className={classes.solid} />
          </g>
        ))}
      </svg>
    );
  return (
    <table className={classes.bars}>
      <tbody>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">
            <span className="sr">Time line</span>
          </th>
          <th scope="col" className="number">
            p50
          </th>
          <th scope="col" className="number">
            p95
          </th>
          <th scope="col" className="number">
            Apps
          </th>
        </tr>
      </tbody>
      <tbody>
        {list.map((s) => (
          <tr key={s.name}>
            <th scope="row">{s.name}</th>
            <td className={classes.lane}>
              <span className={classes.tail} style={{ left: `${s.from + s.length}%`, width: `${s.tail}%` }} />
              <span className={classes.solid} style={{ left: `${s.from}%`, width: `max(${s.length}%, ${s.p50 === undefined ? 0 : 3}px)` }} />
            </td>
            <td className="number">{s.p50 === undefined ? "–" : duration(s.p50)}</td>
            <td className="number muted">{s.p95 === undefined ? "–" : duration(s.p95)}</td>
            <td className="number muted">{stages.find((x) => x.name === s.name)?.perInstance ? count(s.count) : ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
