// SPDX-License-Identifier: Apache-2.0

import { useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { lazy, Suspense, useEffect, useRef, useState, type MouseEvent, type ReactNode } from "react";
import { Link, useLocation } from "wouter";

import { Guard } from "../components/Guard";
import { Icon, type IconName } from "../components/Icon";
import { Mark } from "../components/Mark";
import { useNow } from "../components/Time";
import { Loading } from "../components/ViewStates";
import { stale } from "../lib/connection";
import { pressed, type Command, type KeyState } from "../lib/keys";
import { pathToFollow } from "../lib/links";
import { ago } from "../lib/time";
import { useConnection, useSource } from "../lib/use";
import classes from "./Shell.module.css";

const Help = lazy(() => import("./Help").then((m) => ({ default: m.Help })));

const places: { path: string; title: string; icon: IconName; keys: string }[] = [
  { path: "/", title: "Overview", icon: "overview", keys: "g o" },
  { path: "/commits", title: "Commits", icon: "commits", keys: "g c" },
  { path: "/applications", title: "Applications", icon: "applications", keys: "g a" },
  { path: "/devices", title: "Devices", icon: "devices", keys: "g d" },
  { path: "/gateways", title: "Gateways", icon: "gateways", keys: "g g" },
  { path: "/topology", title: "Topology", icon: "topology", keys: "g t" },
  { path: "/events", title: "Events", icon: "events", keys: "g e" },
  { path: "/terminal", title: "Terminal", icon: "terminal", keys: "g x" },
  { path: "/start", title: "Getting started", icon: "start", keys: "g s" },
];

/** What stays around every view: where one can go, how the connection is, and the keyboard. */
export function Shell({ children }: { children: ReactNode }) {
  const [help, setHelp] = useState<boolean>(); // undefined until it is asked for
  const [location, navigate] = useLocation();
  const [openAt, setOpenAt] = useState<string>(); // the menu of a narrow screen closes with every step
  const open = openAt === location;
  useShortcuts(() => setHelp(true));
  const follow = (event: MouseEvent) => {
    const path = pathToFollow(event);
    if (path === undefined) return;
    event.preventDefault();
    navigate(path);
  };
  return (
    <div className={classes.shell} onClick={follow}>
      <a className={classes.skip} href="#main">
        Skip to the content
      </a>
      <header className={classes.side} data-open={open || undefined}>
        <div className={classes.brand}>
          <img src="/icon.svg" width="22" height="22" alt="" />
          <Link href="/">Wasmbed</Link>
          <button type="button" className={classes.burger} aria-expanded={open} aria-controls="places" onClick={() => setOpenAt(open ? undefined : location)}>
            <Icon name="menu" />
            <span className="sr">Menu</span>
          </button>
        </div>
        <nav id="places" className={classes.nav} aria-label="Views">
          {places.map((p) => (
            <Place key={p.path} {...p} current={p.path === "/" ? location === "/" : location.startsWith(p.path)} />
          ))}
        </nav>
        <Foot onHelp={() => setHelp(true)} />
      </header>
      <main id="main" className={classes.main} tabIndex={-1}>
        <Lost />
        <div className={classes.view}>
          <Guard key={location.split("/", 4).join("/")}>
            <Suspense fallback={<Loading what="the view" />}>{children}</Suspense>
          </Guard>
        </div>
      </main>
      {help !== undefined && (
        <Suspense>
          <Help opened={help} onClose={() => setHelp(false)} />
        </Suspense>
      )}
    </div>
  );
}

function Place({ path, title, icon, keys, current }: { path: string; title: string; icon: IconName; keys: string; current: boolean }) {
  return (
    <Link href={path} className={classes.place} aria-current={current ? "page" : undefined}>
      <Icon name={icon} />
      <span>{title}</span>
      <span className={classes.keys} aria-hidden="true">
        {keys}
      </span>
    </Link>
  );
}

/** The connection, the theme, the keyboard. */
function Foot({ onHelp }: { onHelp: () => void }) {
  const connection = useConnection();
  const { toggleColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const live = connection.state === "live";
  return (
    <div className={classes.foot}>
      <span className={classes.live} role="status">
        <Mark tone={live ? "good" : stale(connection) ? "bad" : "busy"} size={10} />
        {live ? "Live" : stale(connection) ? "Reconnecting" : "Connecting"}
      </span>
      <button type="button" className={classes.tool} onClick={onHelp} title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts">
        <Icon name="keyboard" />
      </button>
      <button type="button" className={classes.tool} onClick={toggleColorScheme} title="Light or dark (t)" aria-label={scheme === "dark" ? "Light theme" : "Dark theme"}>
        <Icon name={scheme === "dark" ? "sun" : "moon"} />
      </button>
    </div>
  );
}

/** Says at once that the connection is lost, since when, and that it heals by itself. */
function Lost() {
  const connection = useConnection();
  const source = useSource();
  if (!stale(connection)) return connection.state === "live" && !source.greeting().synced ? <p className={classes.filling}>The dashboard still reads the fleet; counts may grow.</p> : null;
  return <LostFor since={"lostAt" in connection ? connection.lostAt : undefined} reason={connection.state === "waiting" ? connection.reason : ""} />;
}

function LostFor({ since, reason }: { since: number | undefined; reason: string }) {
  const now = useNow();
  return (
    <p className={classes.lost} role="alert">
      <Mark tone="bad" />
      <span>
        Connection lost{since !== undefined && now - since >= 1_000 ? ` ${ago(since, now)} ago` : ""}. What you see is from then; it is being restored. {reason}
      </span>
    </p>
  );
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

function useShortcuts(help: () => void) {
  const [, navigate] = useLocation();
  const { toggleColorScheme } = useMantineColorScheme();
  const state = useRef<KeyState>({});
  useEffect(() => {
    const act = (command: Command) => {
      if (command.kind === "go") navigate(command.path);
      if (command.kind === "help") help();
      if (command.kind === "theme") toggleColorScheme();
      if (command.kind === "search") document.querySelector<HTMLInputElement>("[data-search]")?.focus();
    };
    const listener = (event: KeyboardEvent) => {
      const key = { key: event.key, modified: event.ctrlKey || event.altKey || event.metaKey, typing: typing(event.target) };
      if (key.typing && event.key === "Escape") (event.target as HTMLElement).blur();
      const [after, command] = pressed(state.current, key, Date.now());
      state.current = after;
      if (!command) return;
      event.preventDefault();
      act(command);
    };
    window.addEventListener("keydown", listener);
    return () => window.removeEventListener("keydown", listener);
  }, [navigate, help, toggleColorScheme]);
}
