// SPDX-License-Identifier: Apache-2.0

import "uplot/dist/uPlot.min.css";

import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import UPlot from "uplot";

import type { Series } from "../lib/contract";
import { bytes } from "../lib/numbers";
import { lastOf } from "../lib/series";
import { parseTime } from "../lib/time";
import classes from "./Chart.module.css";

interface Props {
  title: string;
  history: Series;
  /** Names of the series to draw, and what they are called. At most three. */
  lines: readonly (readonly [series: string, title: string])[];
  format: (value: number) => string;
  height?: number;
}

/** Steps of an axis for bytes: what reads well in KiB and MiB. */
const binarySteps = Array.from({ length: 45 }, (_, i) => 2 ** i);

const colours = ["--accent", "--good", "--warn"];

/** A small chart of a history. Its last values stand beside the title, for those who do not see the lines too. */
export function Chart({ title, history, lines, format, height = 120 }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme("light");
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const plot = new UPlot(options(element.clientWidth, height, lines, format), data(history, lines), element);
    const resized = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [history, lines, format, height, scheme]);
  return (
    <figure className={classes.chart}>
      <figcaption>
        <span>{title}</span>
        <span className={classes.last}>
          {lines.map(([name, what], i) => {
            const last = lastOf(history.series[name]);
            return (
              <span key={name}>
                {lines.length > 1 && <i data-line={i} />}
                {lines.length > 1 ? `${what} ` : ""}
                <b>{last === undefined ? "–" : format(last)}</b>
              </span>
            );
          })}
        </span>
      </figcaption>
      <div ref={box} className={classes.box} aria-hidden="true" />
    </figure>
  );
}

function data(history: Series, lines: Props["lines"]): UPlot.AlignedData {
  const start = (parseTime(history.start) ?? 0) / 1_000;
  const length = Math.max(0, ...lines.map(([name]) => history.series[name]?.length ?? 0));
  const times = Array.from({ length }, (_, i) => start + i * history.step);
  return [times, ...lines.map(([name]) => history.series[name] ?? [])];
}

function options(width: number, height: number, lines: Props["lines"], format: (v: number) => string): UPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${colour("--font")}` };
  return {
    width,
    height,
    padding: [8, 4, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, min, max) => [Math.min(0, min), max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, space: 70, size: 24, values: (_, splits) => splits.map((s) => new Date(s * 1_000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })) },
      { ...axis, space: 30, size: 62, ...(format === bytes ? { incrs: binarySteps } : {}), values: (_, splits) => splits.map(format) },
    ],
    series: [{}, ...lines.map(([, label], i) => ({ label, stroke: colour(colours[i] ?? "--muted"), width: 1.5, points: { show: false }, spanGaps: false }))],
  };
}
