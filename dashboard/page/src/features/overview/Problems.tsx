// SPDX-License-Identifier: Apache-2.0

import { Head } from "../../components/Head";
import { Panel } from "../../components/Panel";
import { Search } from "../../components/Search";
import { Empty, View } from "../../components/ViewStates";
import type { ProblemRow } from "../../lib/contract";
import { useFilters } from "../../lib/filters";
import { count } from "../../lib/numbers";
import { query } from "../../lib/paths";
import { useList } from "../../lib/use";
import { ProblemList } from "./ProblemList";

/** Everything that is wrong now. */
export function Problems() {
  const [get, set] = useFilters();
  const loaded = useList<ProblemRow>("problems", query({ search: get("search"), limit: 200 }));
  return (
    <>
      <Head title="Wrong now">
        <Search label="Search in problems" value={get("search")} onChange={(search) => set({ search })} />
      </Head>
      <View what="the problems" loaded={loaded} isEmpty={(l) => l.total === 0} empty={<Empty title={get("search") ? "Nothing matches" : "Nothing is wrong"} />}>
        {(l) => (
          <Panel title={`${count(l.total)} in all`} flush aside={l.rows.length < l.total ? `the first ${count(l.rows.length)}` : undefined}>
            <ProblemList problems={l.rows} />
          </Panel>
        )}
      </View>
    </>
  );
}
