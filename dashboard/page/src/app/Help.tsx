// SPDX-License-Identifier: Apache-2.0

import { Kbd, Modal } from "@mantine/core";

import { shortcuts } from "../lib/keys";
import classes from "./Shell.module.css";

/** What the keyboard does. */
export function Help({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Keyboard" lockScroll={false} centered closeButtonProps={{ "aria-label": "Close" }}>
      <dl className={classes.help}>
        {shortcuts.map((s) => (
          <div key={s.keys}>
            <dt>
              {s.keys.split(" ").map((k) => (
                <Kbd key={k}>{k}</Kbd>
              ))}
            </dt>
            <dd>{s.title}</dd>
          </div>
        ))}
        <div>
          <dt>
            <Kbd>↑</Kbd> <Kbd>↓</Kbd>
          </dt>
          <dd>From row to row</dd>
        </div>
      </dl>
    </Modal>
  );
}
