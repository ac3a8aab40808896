// SPDX-License-Identifier: Apache-2.0

import { Chart } from "../../components/Chart";
import { Panel } from "../../components/Panel";
import { Empty, View } from "../../components/ViewStates";
import type { Series } from "../../lib/contract";
import { bytes } from "../../lib/numbers";
import { hasAny } from "../../lib/series";
import { useValue } from "../../lib/use";

const charts: { title: string; lines: readonly (readonly [string, string])[]; format: (v: number) => string }[] = [
  { title: "Heap in use", lines: [["heap_used", "heap"]], format: bytes },
  { title: "Deepest stack", lines: [["stack_high_water", "stack"]], format: bytes },
  { title: "Processor idle", lines: [["idle_permille", "idle"]], format: (v) => `${(v / 10).toFixed(v % 10 === 0 ? 0 : 1)} %` },
  { title: "Module storage free", lines: [["storage_free", "free"]], format: bytes },
  { title: "Temperature", lines: [["temperature_millidegrees", "temperature"]], format: (v) => `${(v / 1_000).toFixed(1)} °C` },
];

/** Three hours of a device, a point a minute. */
export function Charts({ namespace, name }: { namespace: string; name: string }) {
  const loaded = useValue<Series>("metrics", { namespace, name });
  return (
    <View
      what="the charts"
      loaded={loaded}
      isEmpty={(h) => !hasAny(h, Object.keys(h.series))}
      empty={<Empty title="No history yet">The gateway keeps a point a minute, from the device's first heartbeat on.</Empty>}
    >
      {(h) => (
        <div className="columns">
          {charts
            .filter((c) => hasAny(h, c.lines.map(([n]) => n)))
            .map((c) => (
              <Panel key={c.title} title={c.title}>
                <Chart title="last three hours" history={h} lines={c.lines} format={c.format} />
              </Panel>
            ))}
        </div>
      )}
    </View>
  );
}
