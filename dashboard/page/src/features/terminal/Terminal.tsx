// SPDX-License-Identifier: Apache-2.0

import { useEffect, useRef, useState, type KeyboardEvent } from "react";

import { Head } from "../../components/Head";
import { stale } from "../../lib/connection";
import { visible } from "../../lib/links";
import type { Answer } from "../../lib/stream";
import { align, commonPrefix, complete, remember, step, type History } from "../../lib/terminal";
import { useConnection, useSource } from "../../lib/use";
import classes from "./Terminal.module.css";

interface Run {
  key: number;
  line: string;
  output: string[];
  error: string;
  done: boolean;
}

const keptRuns = 50;
const keptParts = 500;

/** Read-only commands that the server answers itself: there is no shell behind it. */
export function Terminal() {
  const source = useSource();
  const old = stale(useConnection());
  const [line, setLine] = useState("");
  const [offers, setOffers] = useState<string[]>([]);
  const [history, setHistory] = useState<History>({ lines: [], at: 0 });
  const { runs, run, end, clear } = useRuns();
  const screen = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (screen.current) screen.current.scrollTop = screen.current.scrollHeight; // scrollTo returns a promise in new browsers
  }, [runs, offers]);
  useEffect(() => input.current?.focus(), []);

  const finish = () => {
    source.ask({ type: "complete", line }, (answer) => {
      if (answer.type !== "completions" || answer.items.length === 0) return;
      const item = answer.items.length === 1 ? `${answer.items[0] ?? ""} ` : commonPrefix(answer.items);
      setOffers(answer.items.length === 1 ? [] : answer.items);
      if (item) setLine(complete(line, answer.from, item));
    });
  };
  const submit = () => {
    const text = line.trim();
    setLine("");
    setOffers([]);
    if (!text) return;
    setHistory((h) => remember(h, text));
    if (text === "clear") clear();
    else run(text);
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "Enter") submit();
    else if (event.key === "Tab" && line) finish();
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const [h, text] = step(history, event.key === "ArrowUp" ? -1 : 1);
      setHistory(h);
      setLine(text);
    } else if (event.key === "c" && event.ctrlKey && !getSelection()?.toString()) end();
    else if (event.key === "l" && event.ctrlKey) clear();
    else return;
    event.preventDefault();
  };

  return (
    <>
      <Head title="Terminal">
        <span className="muted">get · describe · logs · trace · top · events · help — Tab completes, Ctrl-C ends</span>
      </Head>
      <div className={classes.screen} ref={screen} onClick={() => !getSelection()?.toString() && input.current?.focus()} role="presentation">
        <div role="log" aria-label="Output" tabIndex={0}>
          {runs.length === 0 && <p className={classes.hint}>Read-only commands, answered by the dashboard's server. There is no shell. Begin with “help”.</p>}
          {runs.map((r) => (
            <Output key={r.key} run={r} />
          ))}
          {offers.length > 0 && <p className={classes.hint}>{offers.map(visible).join("   ")}</p>}
        </div>
        <label className={classes.line}>
          <span aria-hidden="true">›</span>
          <input ref={input} value={line} maxLength={512} onChange={(e) => setLine(e.currentTarget.value)} onKeyDown={key} aria-label="Command" spellCheck={false} autoCapitalize="off" autoComplete="off" disabled={old} data-search />
        </label>
        {old && <p className={classes.hint}>The connection is lost; commands work again when it is back.</p>}
      </div>
    </>
  );
}

function Output({ run: r }: { run: Run }) {
  return (
    <div className={classes.run}>
      <div className={classes.typed}>
        <span aria-hidden="true">›</span> {visible(r.line)}
      </div>
      {r.output.length > 0 && <pre>{r.output.join("\n")}</pre>}
      {r.error && (
        <p className={classes.error} role="alert">
          {visible(r.error)}
        </p>
      )}
      {!r.done && <p className={classes.hint}>…</p>}
    </div>
  );
}

function useRuns() {
  const source = useSource();
  const [runs, setRuns] = useState<Run[]>([]);
  const ends = useRef(new Map<number, () => void>());
  const nextKey = useRef(1);
  useEffect(() => {
    const all = ends.current;
    return () => {
      for (const end of all.values()) end();
    };
  }, []);
  const run = (line: string) => {
    const key = nextKey.current++;
    setRuns((before) => [...before, { key, line, output: [], error: "", done: false }].slice(-keptRuns));
    const change = (f: (r: Run) => Run) => setRuns((before) => before.map((r) => (r.key === key ? f(r) : r)));
    ends.current.set(
      key,
      source.ask({ type: "run", line }, (answer) => change((r) => after(r, answer))),
    );
  };
  const end = () => {
    for (const e of ends.current.values()) e();
    ends.current.clear();
    setRuns((before) => before.map((r) => ({ ...r, done: true })));
  };
  const clear = () => {
    end();
    setRuns([]);
  };
  return { runs, run, end, clear };
}

function after(r: Run, answer: Answer): Run {
  switch (answer.type) {
    case "output": {
      const text = answer.columns ? align(answer.columns, answer.rows ?? []) : (answer.text ?? "").split("\n").map(visible).join("\n").trimEnd();
      return { ...r, output: [...r.output, text].slice(-keptParts) };
    }
    case "error":
      return { ...r, error: answer.message, done: true };
    default:
      return { ...r, done: true };
  }
}
