// SPDX-License-Identifier: Apache-2.0

import { MantineProvider, createTheme, type MantineColorsTuple } from "@mantine/core";
import { lazy } from "react";
import { Route, Switch } from "wouter";

import { Empty } from "../components/ViewStates";
import { ApplicationPage } from "../features/applications/ApplicationPage";
import { Applications } from "../features/applications/Applications";
import { CommitPage } from "../features/commits/CommitPage";
import { Commits } from "../features/commits/Commits";
import { Devices } from "../features/devices/Devices";
import { Events } from "../features/events/Events";
import { Gateways } from "../features/gateways/Gateways";
import { Overview } from "../features/overview/Overview";
import { Problems } from "../features/overview/Problems";
import { Topology } from "../features/topology/Topology";
import type { Source } from "../lib/stream";
import { SourceContext } from "../lib/use";
import { Shell } from "./Shell";
import { SignIn } from "./SignIn";

// What is not needed at first sight comes when it is.
const DevicePage = lazy(() => import("../features/devices/DevicePage").then((m) => ({ default: m.DevicePage })));
const GatewayPage = lazy(() => import("../features/gateways/GatewayPage").then((m) => ({ default: m.GatewayPage })));
const SystemPage = lazy(() => import("../features/gateways/SystemPage").then((m) => ({ default: m.SystemPage })));
const Terminal = lazy(() => import("../features/terminal/Terminal").then((m) => ({ default: m.Terminal })));
const Start = lazy(() => import("../features/start/Start").then((m) => ({ default: m.Start })));

const accent: MantineColorsTuple = ["#f1effe", "#ddd8fc", "#c4bcfb", "#a698ff", "#8c7bf5", "#7461ec", "#5a45e0", "#4a37c4", "#3c2ca3", "#2e2281"];

const dark: MantineColorsTuple = ["#e8e8ef", "#c8cad6", "#a0a3b4", "#7c7f91", "#3a3c4a", "#282a35", "#1d1e27", "#16171e", "#101117", "#0b0c10"];

const theme = createTheme({
  colors: { accent, dark },
  primaryColor: "accent",
  primaryShade: { light: 6, dark: 3 },
  autoContrast: true,
  fontSizes: { xs: "12px", sm: "13px", md: "13px", lg: "15px", xl: "18px" },
  defaultRadius: 6,
  cursorType: "pointer",
});

// Only needed where a component writes a <style> of its own; the server puts the nonce of this answer into the page.
function styleNonce(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="style-nonce"]')?.content ?? "";
}

export function App({ source }: { source: Source }) {
  return (
    <SourceContext value={source}>
      <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={styleNonce} withGlobalClasses={false}>
        <SignIn>
          <Shell>
            <Routes />
          </Shell>
        </SignIn>
      </MantineProvider>
    </SourceContext>
  );
}

export function Routes() {
  return (
    <Switch>
      <Route path="/" component={Overview} />
      <Route path="/problems" component={Problems} />
      <Route path="/commits" component={Commits} />
      <Route path="/commits/:commit">{(p) => <CommitPage key={p.commit} commit={p.commit} />}</Route>
      <Route path="/applications" component={Applications} />
      <Route path="/applications/:namespace/:name">{(p) => <ApplicationPage key={`${p.namespace}/${p.name}`} {...p} />}</Route>
      <Route path="/devices" component={Devices} />
      <Route path="/devices/:namespace/:name/:tab?">{(p) => <DevicePage key={`${p.namespace}/${p.name}`} namespace={p.namespace} name={p.name} tab={p.tab} />}</Route>
      <Route path="/gateways" component={Gateways} />
      <Route path="/gateways/:namespace/:name">{(p) => <GatewayPage key={`${p.namespace}/${p.name}`} {...p} />}</Route>
      <Route path="/system" component={SystemPage} />
      <Route path="/topology" component={Topology} />
      <Route path="/events" component={Events} />
      <Route path="/terminal" component={Terminal} />
      <Route path="/start" component={Start} />
      <Route>
        <Empty title="There is no such page">The address may be from another version of the dashboard.</Empty>
      </Route>
    </Switch>
  );
}
