// SPDX-License-Identifier: Apache-2.0

import { useCallback } from "react";
import { useSearchParams } from "wouter";

/** A view's filters are in the address: it can be sent to somebody, and "back" goes back. */
export function useFilters(): [(name: string) => string, (changes: Record<string, string>) => void] {
  const [params, setParams] = useSearchParams();
  const get = useCallback((name: string) => params.get(name) ?? "", [params]);
  const set = useCallback(
    (changes: Record<string, string>) =>
      setParams(
        (before) => {
          const after = new URLSearchParams(before);
          for (const [k, v] of Object.entries(changes)) {
            if (v) after.set(k, v);
            else after.delete(k);
          }
          return after;
        },
        { replace: true },
      ),
    [setParams],
  );
  return [get, set];
}
