// SPDX-License-Identifier: Apache-2.0

import { MultiSelect, Select, type MultiSelectProps, type SelectProps } from "@mantine/core";

export type OneProps = Omit<SelectProps, "w"> & { w: number };
export type SomeProps = Omit<MultiSelectProps, "w"> & { w: number };

export function One(props: OneProps) {
  return <Select size="xs" {...props} />;
}

export function Some(props: SomeProps) {
  return <MultiSelect size="xs" {...props} />;
}
