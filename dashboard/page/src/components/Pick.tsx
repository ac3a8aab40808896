// SPDX-License-Identifier: Apache-2.0

import { lazy, Suspense } from "react";

import classes from "./Pick.module.css";
import type { OneProps, SomeProps } from "./pickers";

// Fields with a list to choose from come after the view's data: they are many parts, and nobody chooses before there is
// something to see.
const One = lazy(() => import("./pickers").then((m) => ({ default: m.One })));
const Some = lazy(() => import("./pickers").then((m) => ({ default: m.Some })));

function Place({ w }: { w: number }) {
  return <div className={classes.place} style={{ width: w }} data-later />;
}

/** One of several. */
export function Pick(props: OneProps) {
  return (
    <Suspense fallback={<Place w={props.w} />}>
      <One {...props} />
    </Suspense>
  );
}

/** Some of several. */
export function PickSome(props: SomeProps) {
  return (
    <Suspense fallback={<Place w={props.w} />}>
      <Some {...props} />
    </Suspense>
  );
}
