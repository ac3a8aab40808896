// SPDX-License-Identifier: Apache-2.0

import { Button } from "@mantine/core";
import type { ReactNode } from "react";

import type { Loaded } from "../lib/use";
import { Mark } from "./Mark";
import classes from "./ViewStates.module.css";

/** Grey lines where data will be. */
export function Loading({ what, lines = 6 }: { what: string; lines?: number }) {
  return (
    <div className={classes.loading} role="status" aria-label={`Loading ${what}`}>
      {Array.from({ length: lines }, (_, i) => (
        <div key={i} className={classes.line} />
      ))}
    </div>
  );
}

/** There is nothing to show, and what that means. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={classes.message} role="status">
      <Mark tone="idle" size={18} />
      <p className={classes.title}>{title}</p>
      {children !== undefined && <div className={classes.detail}>{children}</div>}
    </div>
  );
}

/** The server answered with an error. */
export function Failed({ what, message, retry }: { what: string; message: string; retry?: (() => void) | undefined }) {
  return (
    <div className={classes.message} role="alert">
      <Mark tone="bad" size={18} />
      <p className={classes.title}>{what} cannot be shown</p>
      <div className={classes.detail}>{message}</div>
      {retry && (
        <Button size="xs" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/**
 * Shows a view in whichever state its data is: loading, failed, empty, full, or full and old because the connection is
 * lost.
 */
export function View<T>({
  what,
  loaded,
  empty,
  isEmpty,
  children,
}: {
  what: string;
  loaded: Loaded<T>;
  empty: ReactNode;
  isEmpty: (data: T) => boolean;
  children: (data: T) => ReactNode;
}) {
  if (loaded.status === "loading") return <Loading what={what} />;
  if (loaded.status === "failed" && loaded.code === "NotFound") return <Empty title={what.startsWith("the ") ? `${what.charAt(0).toUpperCase()}${what.slice(1)} cannot be shown` : `There is no such ${what}`}>{loaded.message}</Empty>;
  if (loaded.status === "failed") return <Failed what={what.charAt(0).toUpperCase() + what.slice(1)} message={loaded.message} retry={loaded.retry} />;
  return (
    <div className={loaded.stale ? classes.stale : classes.fresh} data-stale={loaded.stale || undefined}>
      {isEmpty(loaded.data) ? empty : children(loaded.data)}
    </div>
  );
}
