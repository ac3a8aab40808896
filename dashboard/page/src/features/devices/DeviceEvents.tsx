// SPDX-License-Identifier: Apache-2.0

import { useState } from "react";

import { EventTable } from "../../components/EventTable";
import { Empty, View } from "../../components/ViewStates";
import type { EventRow } from "../../lib/contract";
import { firstWindow } from "../../lib/first";
import { useList } from "../../lib/use";

/** What happened to a device. */
export function DeviceEvents({ id }: { id: string }) {
  const [window, setWindow] = useState(firstWindow);
  const [sort, setSort] = useState("-time");
  const loaded = useList<EventRow>("events", { kind: "Device", object: id, sort, ...window });
  return (
    <View what="the events" loaded={loaded} isEmpty={(l) => l.total === 0} empty={<Empty title="Nothing happened to it lately" />}>
      {(l) => (
        <div className="fill">
          <EventTable list={l} sort={sort} onSort={setSort} onWindow={setWindow} />
        </div>
      )}
    </View>
  );
}
