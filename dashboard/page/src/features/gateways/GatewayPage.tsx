// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Chart } from "../../components/Chart";
import { Conditions } from "../../components/Conditions";
import { Facts } from "../../components/Facts";
import { Head } from "../../components/Head";
import { State } from "../../components/Mark";
import { Panel } from "../../components/Panel";
import { Ago, useNow } from "../../components/Time";
import { Empty, View } from "../../components/ViewStates";
import type { GatewayValue, Series } from "../../lib/contract";
import { visible } from "../../lib/links";
import { bytes, count } from "../../lib/numbers";
import { hasAny } from "../../lib/series";
import { rowTone } from "../../lib/states";
import { exactTime, parseTime } from "../../lib/time";
import { useValue } from "../../lib/use";

/** One gateway: its connections, its load, its certificate. */
export function GatewayPage({ namespace, name }: { namespace: string; name: string }) {
  const loaded = useValue<GatewayValue>("gateway", { namespace, name });
  return (
    <>
      <Head title={name} above={<Link href="/gateways">Gateways</Link>}>
        {loaded.status === "ready" && <State word={loaded.data.reason} tone={rowTone(loaded.data.state)} />}
      </Head>
      <View what="gateway" loaded={loaded} isEmpty={(v) => !v.id} empty={<Empty title="There is no such gateway" />}>
        {(v) => (
          <div className="columns two">
            <About gateway={v} />
            <Certificate gateway={v} />
            <Load history={v.history} error={v.liveError} />
            {(v.refused ?? []).length > 0 && <Refused gateway={v} />}
            <Panel title="Conditions" flush className="wide">
              <Conditions conditions={v.conditions ?? []} />
            </Panel>
          </div>
        )}
      </View>
    </>
  );
}

function About({ gateway: g }: { gateway: GatewayValue }) {
  return (
    <Panel title="Gateway">
      <Facts
        facts={[
          ["Connections", <Link key="d" href={`/devices?gateway=${encodeURIComponent(g.id)}`} className="link">{`${count(g.connected)} of ${count(g.assigned)} devices`}</Link>],
          ["Listens on", g.address],
          ["Devices are told", g.endpoints?.join(", ")],
          ["For namespaces", g.allowedNamespaces?.join(", ")],
          ["At most", g.limits?.devices !== undefined && `${count(g.limits.devices)} devices, ${count(g.limits.handshakes ?? 0)} handshakes at once, ${count(g.limits.acceptRate ?? 0)} new connections a second`],
          ["Heartbeat", g.limits?.heartbeatSeconds !== undefined && `every ${g.limits.heartbeatSeconds} s`],
          ["Version", g.version],
          ["Message", g.message && visible(g.message)],
        ]}
      />
    </Panel>
  );
}

const day = 86_400_000;

/** A certificate's tone: wrong when it has expired, worth a look when a tenth of its life is left. */
function expiry(c: NonNullable<GatewayValue["certificate"]>, now: number): "good" | "warn" | "bad" {
  const to = parseTime(c.notAfter);
  const from = parseTime(c.notBefore);
  if (to === undefined || to <= now) return "bad";
  return to - now < (from === undefined ? day : (to - from) / 10) ? "warn" : "good";
}

function Certificate({ gateway: g }: { gateway: GatewayValue }) {
  const now = useNow();
  const c = g.certificate;
  const to = parseTime(c?.notAfter);
  return (
    <Panel title="Certificate">
      {c ? (
        <Facts
          facts={[
            [
              "Expires",
              <State key="e" word="" tone={expiry(c, now)}>
                <Ago at={c.notAfter} />
              </State>,
            ],
            ["Not after", to !== undefined && exactTime(to)],
            ["Subject", c.subject && visible(c.subject)],
            ["Issuer", c.issuer && visible(c.issuer)],
          ]}
        />
      ) : (
        <p className="muted">{visible(g.liveError ?? "The gateway has not shown it yet.")}</p>
      )}
    </Panel>
  );
}

const charts: { title: string; lines: readonly (readonly [string, string])[]; format: (v: number) => string }[] = [
  { title: "Connections", lines: [["connections", "connections"]], format: count },
  { title: "Frames a minute", lines: [["frames_in", "in"], ["frames_out", "out"]], format: count },
  { title: "Bytes a minute", lines: [["bytes_in", "in"], ["bytes_out", "out"]], format: bytes },
  { title: "Fetches and errors a minute", lines: [["fetches", "fetches"], ["errors", "errors"]], format: count },
  { title: "Status writes and log lines a minute", lines: [["status_writes", "writes"], ["log_lines", "lines"]], format: count },
  { title: "Processor", lines: [["cpu_milliseconds", "of a minute"]], format: (v) => `${(v / 600).toFixed(1)} %` },
  { title: "Memory", lines: [["memory_bytes", "resident"]], format: bytes },
];

function Load({ history, error }: { history: Series | undefined; error: string | undefined }) {
  const shown = history ? charts.filter((c) => hasAny(history, c.lines.map(([n]) => n))) : [];
  return (
    <Panel title="Load" className="wide" aside="the last three hours">
      {history && shown.length > 0 ? (
        <div className="columns four">
          {shown.map((c) => (
            <Chart key={c.title} title={c.title} history={history} lines={c.lines} format={c.format} />
          ))}
        </div>
      ) : (
        <p className="muted">{visible(error ?? "No history yet.")}</p>
      )}
    </Panel>
  );
}

function Refused({ gateway: g }: { gateway: GatewayValue }) {
  return (
    <Panel title="Refused connections" flush className="wide">
      <div className="scroll-x" tabIndex={0} role="group" aria-label="Refused connections">
        <table className="table">
          <tbody>
            <tr>
              <th>Key</th>
              <th>From</th>
              <th>Why</th>
              <th className="number">Times</th>
              <th>Last</th>
            </tr>
          </tbody>
          <tbody>
            {g.refused?.map((r) => (
              <tr key={r.key}>
                <td className="mono">{visible(r.key)}</td>
                <td>{visible(r.remote ?? "")}</td>
                <td>{visible(r.reason ?? "")}</td>
                <td className="number">{count(r.count)}</td>
                <td className="nowrap">
                  <Ago at={r.last} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
