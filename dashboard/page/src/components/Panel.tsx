// SPDX-License-Identifier: Apache-2.0

import { useId, type ReactNode } from "react";

import classes from "./Panel.module.css";

/** A titled part of a view. */
export function Panel({ title, aside, children, flush = false, className = "" }: { title: string; aside?: ReactNode; children: ReactNode; flush?: boolean; className?: string }) {
  const id = useId();
  return (
    <section className={`${classes.panel ?? ""} ${className}`} aria-labelledby={id}>
      <header className={classes.header}>
        <h2 id={id}>{title}</h2>
        {aside !== undefined && <div className={classes.aside}>{aside}</div>}
      </header>
      <div className={flush ? classes.flush : classes.body}>{children}</div>
    </section>
  );
}
