// SPDX-License-Identifier: Apache-2.0

import { TextInput } from "@mantine/core";
import { useEffect, useState } from "react";

import { Icon } from "./Icon";

const pause = 200;

/** The search field of a view, which "/" leads to. It tells what was typed after a short pause. */
export function Search({ label, value, onChange, width = 240 }: { label: string; value: string; onChange: (text: string) => void; width?: number }) {
  const [text, setText] = useState(value);
  const [before, setBefore] = useState(value);
  if (value !== before) {
    setBefore(value);
    setText(value);
  }
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => onChange(text), pause);
    return () => clearTimeout(timer);
  }, [text, value, onChange]);
  return (
    <TextInput
      aria-label={label}
      placeholder={`${label}  /`}
      size="xs"
      w={width}
      maxLength={200}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      leftSection={<Icon name="search" size={14} />}
      data-search
    />
  );
}
