// SPDX-License-Identifier: Apache-2.0

import type { ReactNode } from "react";
import { Link } from "wouter";

import type { TopologyGroup } from "../lib/contract";
import { visible } from "../lib/links";
import { count } from "../lib/numbers";
import { pathOf } from "../lib/paths";
import { byState } from "../lib/progress";
import { rowTone, rowWord } from "../lib/states";
import classes from "./Groups.module.css";
import { Mark } from "./Mark";
import { Bar, describe } from "./Shares";

/** The devices of a group as a list. */
function filterFor(by: string, name: string, gateway: string): string {
  const params = new URLSearchParams();
  if (by.startsWith("label:")) params.set("label", name === "" ? `!${by.slice(6)}` : `${by.slice(6)}=${name}`);
  else if (by === "board" || by === "phase" || by === "namespace") params.set(by, name);
  if (gateway) params.set("gateway", gateway);
  return `/devices?${params.toString()}`;
}

/** Tiles beside one another. */
export function Tiles({ children }: { children: ReactNode }) {
  return <ul className={classes.groups}>{children}</ul>;
}

/** A group of devices: each of them while they are few, shares when they are many. */
export function GroupTile({ group: x, by, gateway, named = false }: { group: TopologyGroup; by: string; gateway: string; named?: boolean }) {
  const parts = byState(x.states);
  return (
    <li className={classes.group}>
      <div className={classes.title}>
        <Link href={filterFor(by, x.name, gateway)} className="cut">
          {x.name === "" ? "without" : visible(x.name)}
        </Link>
        <span className="muted number">{count(x.count)}</span>
      </div>
      {x.devices ? (
        <ul className={classes.devices} data-named={named || undefined} aria-label="Devices">
          {x.devices.map((d) => (
            <li key={d.id}>
              <Link href={pathOf("Device", d.id) ?? "/devices"} title={`${d.id}: ${rowWord(d.state).toLowerCase()}`}>
                <Mark tone={rowTone(d.state)} size={12} />
                {named && <span>{visible(d.id.slice(d.id.indexOf("/") + 1))}</span>}
                <span className="sr">{named ? rowWord(d.state).toLowerCase() : `${d.id}: ${rowWord(d.state).toLowerCase()}`}</span>
              </Link>
            </li>
          ))}
        </ul>
      ) : (
        <>
          <Bar parts={parts} total={x.count} label={describe(parts)} />
          <div className={classes.wrong}>
            {parts
              .filter((p) => p.tone !== "good")
              .map((p) => (
                <span key={p.label}>
                  <Mark tone={p.tone} size={10} /> {count(p.value)} {p.label.toLowerCase()}
                </span>
              ))}
            {parts.every((p) => p.tone === "good") && <span>all as git says</span>}
          </div>
        </>
      )}
      {x.wanted !== undefined && (
        <div className={classes.apps}>
          {count(x.running ?? 0)} of {count(x.wanted)} apps run
        </div>
      )}
    </li>
  );
}
