// SPDX-License-Identifier: Apache-2.0

import { Select, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import { Mark } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { useNow } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { KeyedLine } from "../../lib/held";
import { visible } from "../../lib/links";
import { count, plural } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { toneOf } from "../../lib/states";
import { clockTime, exactTime, parseTime } from "../../lib/time";
import { useLines } from "../../lib/use";
import classes from "./Devices.module.css";

/** What a device and its apps say, as they say it. */
export function Log({ device }: { device: string }) {
  const [level, setLevel] = useState("");
  const [app, setApp] = useState("");
  const [search, setSearch] = useState("");
  const loaded = useLines("logs", query({ device, level, app, search, lines: 256 }));
  return (
    <Panel title="Log" flush className={classes.tall ?? ""} aside={loaded.status === "ready" && loaded.data.lost > 0 ? `${plural(loaded.data.lost, "line")} left out` : undefined}>
      <div className={classes.controls}>
        <Select size="xs" w={130} aria-label="Least level" data={["debug", "info", "warning", "error"]} placeholder="Level" value={level || null} onChange={(v) => setLevel(v ?? "")} clearable clearButtonProps={{ "aria-label": "Clear level" }} />
        <TextInput size="xs" w={140} aria-label="App" placeholder="App" value={app} maxLength={63} onChange={(e) => setApp(e.currentTarget.value)} />
        <TextInput size="xs" w={220} aria-label="Search in the log" placeholder="Search  /" value={search} maxLength={200} onChange={(e) => setSearch(e.currentTarget.value)} data-search />
      </div>
      {loaded.status === "ready" && loaded.data.trouble && (
        <p className={classes.note} role="status">
          {loaded.data.trouble}
        </p>
      )}
      <View what="the log" loaded={loaded} isEmpty={(l) => l.lines.length === 0} empty={<Empty title="Nothing said yet">Lines appear here as the device sends them.</Empty>}>
        {(l) => <Lines lines={l.lines} />}
      </View>
    </Panel>
  );
}

const near = 40;

/** Stays at the end while the reader is there, and leaves them where they are when they read further up. */
function Lines({ lines }: { lines: readonly KeyedLine[] }) {
  const box = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const now = useNow();
  useEffect(() => {
    const b = box.current;
    if (b && following.current) b.scrollTop = b.scrollHeight;
  }, [lines]);
  const scrolled = () => {
    const b = box.current;
    if (b) following.current = b.scrollHeight - b.scrollTop - b.clientHeight < near;
  };
  return (
    <div className={classes.log} ref={box} onScroll={scrolled} role="log" aria-label="Log" tabIndex={0}>
      {lines.map((l) => (
        <Entry key={l.key} line={l} now={now} />
      ))}
    </div>
  );
}

function Entry({ line: l, now }: { line: KeyedLine; now: number }) {
  const at = parseTime(l.time);
  const tone = toneOf(l.level);
  return (
    <div className={classes.entry} data-tone={tone}>
      <span className={`muted ${classes.when ?? ""}`} title={at === undefined ? "" : exactTime(at)}>
        {at === undefined ? "" : clockTime(at, now)}
      </span>
      <span title={l.level ?? ""}>
        <Mark tone={tone} size={9} />
        <span className="sr">{l.level}</span>
      </span>
      <span className={`muted cut ${classes.from ?? ""}`}>{visible(l.app ?? "firmware")}</span>
      <span className={classes.said}>
        {visible(l.text)}
        {l.dropped ? <span className="muted"> ({count(l.dropped)} dropped)</span> : null}
      </span>
    </div>
  );
}
