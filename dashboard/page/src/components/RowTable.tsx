// SPDX-License-Identifier: Apache-2.0

import { useCallback } from "react";

import type { Window } from "../lib/first";
import { formatSort, parseSort } from "../lib/paths";
import { windowFor, type List } from "../lib/use";
import { VirtualTable, type Column } from "./VirtualTable";

/** A list of the server as a table: it asks for the window that is on the screen. */
export function RowTable<Row extends { id: string }>({
  label,
  columns,
  list,
  sort,
  onSort,
  onWindow,
  rowHeight,
}: {
  label: string;
  columns: readonly Column<Row>[];
  list: List<Row>;
  sort?: string;
  onSort?: (sort: string) => void;
  onWindow: (change: (before: Window) => Window) => void;
  rowHeight?: number;
}) {
  const onRange = useCallback(
    (first: number, last: number) =>
      onWindow((before) => {
        const after = windowFor(first, last);
        return before.offset === after.offset && before.limit === after.limit ? before : after;
      }),
    [onWindow],
  );
  return (
    <VirtualTable
      label={label}
      columns={columns}
      total={list.total}
      row={(i) => list.rows[i - list.offset]}
      rowKey={(r) => r.id}
      sort={sort === undefined ? undefined : parseSort(sort)}
      {...(onSort ? { onSort: (s) => onSort(formatSort(s)) } : {})}
      onRange={onRange}
      {...(rowHeight === undefined ? {} : { rowHeight })}
    />
  );
}
