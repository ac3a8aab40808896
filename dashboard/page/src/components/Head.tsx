// SPDX-License-Identifier: Apache-2.0

import { useEffect, type ReactNode } from "react";

import classes from "./Head.module.css";

/** The title of a view, what leads to it, and what stands beside it. It is the document's title too. */
export function Head({ title, above, children }: { title: string; above?: ReactNode; children?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Wasmbed`;
  }, [title]);
  return (
    <header className={classes.head}>
      <div className={classes.text}>
        {above !== undefined && <div className={classes.above}>{above}</div>}
        <h1>{title}</h1>
      </div>
      {children !== undefined && <div className={classes.aside}>{children}</div>}
    </header>
  );
}
