// SPDX-License-Identifier: Apache-2.0

import type { Condition } from "../lib/contract";
import { visible } from "../lib/links";
import { conditionTone } from "../lib/states";
import { State } from "./Mark";
import { Ago } from "./Time";

/** An object's conditions, as its controllers wrote them. */
export function Conditions({ conditions }: { conditions: readonly Condition[] }) {
  if (conditions.length === 0) return <p className="muted">No controller has said anything yet.</p>;
  return (
    <div className="scroll-x" tabIndex={0} role="group" aria-label="Conditions">
      <table className="table">
        <tbody>
          <tr>
            <th>Condition</th>
            <th>Reason</th>
            <th>Message</th>
            <th>Since</th>
          </tr>
        </tbody>
        <tbody>
          {conditions.map((c) => (
            <tr key={c.type}>
              <td>
                <State word={`${c.type}: ${c.status}`} tone={conditionTone(c.type, c.status)} />
              </td>
              <td>{c.reason}</td>
              <td>{visible(c.message ?? "")}</td>
              <td className="nowrap">
                <Ago at={c.since} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
