// SPDX-License-Identifier: Apache-2.0

import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, type KeyboardEvent, type ReactNode } from "react";

import classes from "./VirtualTable.module.css";

export interface Column<Row> {
  id: string;
  title: string;
  /** The least width in pixels, and which share of what is left it takes: none when it is absent. */
  min: number;
  grow?: number;
  /** True when the server sorts by this column's id. */
  sortable?: boolean;
  number?: boolean;
  cell: (row: Row) => ReactNode;
}

export interface Sort {
  by: string;
  descending: boolean;
}

/** What of the screen's height a view usually has beside its table: a guess, so that the first picture has the right rows. */
const aroundTable = 130;

/** The head and the border. */
const aroundRows = 36;

interface Props<Row> {
  label: string;
  columns: readonly Column<Row>[];
  total: number;
  /** The row at an index, or undefined while it is on its way. */
  row: (index: number) => Row | undefined;
  rowKey: (row: Row) => string;
  sort?: Sort | undefined;
  onSort?: (sort: Sort) => void;
  /** Tells which rows are on the screen. */
  onRange?: (first: number, last: number) => void;
  rowHeight?: number;
}

/**
 * A table of any length: only the rows on the screen exist, the rest is room to scroll. Arrow keys move between the
 * rows' links.
 */
export function VirtualTable<Row>({ label, columns, total, row, rowKey, sort, onSort, onRange, rowHeight = 33 }: Props<Row>) {
  const scroller = useRef<HTMLDivElement>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- nothing of it is memoized
  const virtual = useVirtualizer({
    count: total,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 6,
    initialRect: { width: 1200, height: Math.max(300, globalThis.innerHeight - aroundTable) },
  });
  const items = virtual.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items[items.length - 1]?.index ?? 0;
  useEffect(() => onRange?.(first, last), [onRange, first, last]);

  const template = columns.map((c) => (c.grow ? `minmax(${c.min}px, ${c.grow}fr)` : `${c.min}px`)).join(" ");
  const minWidth = columns.reduce((sum, c) => sum + c.min, 0);
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const at = (event.target as HTMLElement).closest<HTMLElement>("[data-index]");
    if (step === 0 || !at) return;
    event.preventDefault();
    const index = Number(at.dataset.index) + step;
    virtual.scrollToIndex(index);
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`[data-index="${index}"] a`)?.focus());
  };

  return (
    <div className={classes.scroller} style={{ maxHeight: aroundRows + total * rowHeight }} ref={scroller} onKeyDown={move} role="table" aria-label={label} aria-rowcount={total + 1} tabIndex={0}>
      <div className={classes.head} role="rowgroup" style={{ minWidth }}>
        <div className={classes.row} role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
          {columns.map((c) => (
            <Header key={c.id} column={c} sort={sort} onSort={onSort} />
          ))}
        </div>
      </div>
      <div role="rowgroup" className={classes.body} style={{ height: virtual.getTotalSize(), minWidth }}>
        {items.map((item) => {
          const r = row(item.index);
          return (
            <div
              key={r === undefined ? item.key : rowKey(r)}
              role="row"
              aria-rowindex={item.index + 2}
              data-index={item.index}
              className={`${classes.row ?? ""} ${classes.data ?? ""}`}
              style={{ gridTemplateColumns: template, height: rowHeight, transform: `translateY(${item.start}px)` }}
            >
              {columns.map((c) => (
                <div key={c.id} role="cell" className={`${classes.cell ?? ""} ${c.number ? (classes.number ?? "") : ""}`}>
                  {r === undefined ? <span className={classes.ghost} /> : c.cell(r)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Header<Row>({ column, sort, onSort }: { column: Column<Row>; sort: Sort | undefined; onSort: ((s: Sort) => void) | undefined }) {
  const active = sort?.by === column.id ? sort : undefined;
  const className = `${classes.cell ?? ""} ${column.number ? (classes.number ?? "") : ""}`;
  if (!column.sortable || !onSort)
    return (
      <div role="columnheader" className={className}>
        {column.title}
      </div>
    );
  return (
    <div role="columnheader" className={className} aria-sort={active ? (active.descending ? "descending" : "ascending") : "none"}>
      <button type="button" className={classes.sort} onClick={() => onSort({ by: column.id, descending: active ? !active.descending : false })}>
        {column.title}
        <span aria-hidden="true" className={classes.arrow}>
          {active ? (active.descending ? "↓" : "↑") : ""}
        </span>
      </button>
    </div>
  );
}
