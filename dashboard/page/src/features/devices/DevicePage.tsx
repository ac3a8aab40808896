// SPDX-License-Identifier: Apache-2.0

import { Link } from "wouter";

import { Head } from "../../components/Head";
import { State } from "../../components/Mark";
import { Empty, View } from "../../components/ViewStates";
import type { DeviceValue } from "../../lib/contract";
import { visible } from "../../lib/links";
import { pathOf } from "../../lib/paths";
import { rowTone } from "../../lib/states";
import { useValue, type Loaded } from "../../lib/use";
import { Charts } from "./Charts";
import { Console } from "./Console";
import classes from "./Devices.module.css";
import { DeviceEvents } from "./DeviceEvents";
import { Log } from "./Log";
import { Summary } from "./Summary";

const tabs = ["summary", "log", "charts", "events", "console"] as const;
type Tab = (typeof tabs)[number];

const titles: Record<Tab, string> = { summary: "Summary", log: "Log", charts: "Charts", events: "Events", console: "Console" };

/** One device: what runs on it, what it says, how it is. */
export function DevicePage({ namespace, name, tab }: { namespace: string; name: string; tab: string | undefined }) {
  const loaded = useValue<DeviceValue>("device", { namespace, name });
  const id = `${namespace}/${name}`;
  const current = tabs.find((t) => t === tab) ?? "summary";
  const hasConsole = loaded.status === "ready" && (loaded.data.backendStatus?.console === true || loaded.data.backend === "QEMU");
  return (
    <>
      <Head title={name} above={<Link href="/devices">Devices</Link>}>
        {loaded.status === "ready" && <Condition device={loaded.data} />}
      </Head>
      <nav className={classes.tabs} aria-label="Parts of the device's page">
        {tabs
          .filter((t) => t !== "console" || hasConsole || current === "console")
          .map((t) => (
            <Link key={t} href={(pathOf("Device", id) ?? "") + (t === "summary" ? "" : `/${t}`)} aria-current={t === current ? "page" : undefined}>
              {titles[t]}
            </Link>
          ))}
      </nav>
      <Part tab={current} id={id} namespace={namespace} name={name} loaded={loaded} />
    </>
  );
}

function Condition({ device }: { device: DeviceValue }) {
  const word = device.state === "ok" ? device.phase : [device.phase, device.reason].filter(Boolean).join(", ");
  return (
    <span title={visible(device.message ?? "")}>
      <State word={word} tone={rowTone(device.state)} />
    </span>
  );
}

function Part({ tab, id, namespace, name, loaded }: { tab: Tab; id: string; namespace: string; name: string; loaded: Loaded<DeviceValue> }) {
  switch (tab) {
    case "log":
      return <Log device={id} />;
    case "charts":
      return <Charts namespace={namespace} name={name} />;
    case "events":
      return <DeviceEvents id={id} />;
    case "console":
      return <Console device={id} />;
    case "summary":
      return (
        <View what="device" loaded={loaded} isEmpty={(v) => !v.id} empty={<Empty title="There is no such device" />}>
          {(v) => <Summary device={v} />}
        </View>
      );
  }
}
