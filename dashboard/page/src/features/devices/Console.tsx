// SPDX-License-Identifier: Apache-2.0

import { useEffect, useRef } from "react";

import { Panel } from "../../components/Panel";
import { Empty, View } from "../../components/ViewStates";
import { terminalText } from "../../lib/terminal";
import { useText } from "../../lib/use";
import classes from "./Devices.module.css";

/** A virtual board's serial console, to read. */
export function Console({ device }: { device: string }) {
  const loaded = useText("console", { device });
  return (
    <Panel title="Serial console, to read" flush className={classes.tall ?? ""} aside="wasmbed console writes too">
      {loaded.status === "ready" && loaded.data.trouble && (
        <p className={classes.note} role="status">
          {loaded.data.trouble}
        </p>
      )}
      <View what="the console" loaded={loaded} isEmpty={(t) => t.text === ""} empty={<Empty title="Nothing on the console yet" />}>
        {(t) => <Text text={terminalText(t.text)} />}
      </View>
    </Panel>
  );
}

function Text({ text }: { text: string }) {
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text]);
  return (
    <pre className={classes.console} ref={box} tabIndex={0} aria-label="Console">
      {text}
    </pre>
  );
}
