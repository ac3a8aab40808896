// SPDX-License-Identifier: Apache-2.0

// What the form of Getting started offers. A test compares it with devices/boards and devices/hostapi.

export type Backend = "Simulated" | "QEMU" | "Hardware";

const everything: Backend[] = ["Simulated", "QEMU", "Hardware"];

export const boards: readonly { name: string; title: string; backends: readonly Backend[] }[] = [
  { name: "mps2-an385", title: "Arm MPS2, Cortex-M3", backends: everything },
  { name: "mps2-an386", title: "Arm MPS2, Cortex-M4F", backends: everything },
  { name: "mps2-an500", title: "Arm MPS2, Cortex-M7", backends: everything },
  { name: "mps2-an505", title: "Arm MPS2, Cortex-M33", backends: everything },
  { name: "sim-m4", title: "simulated, as a Cortex-M4", backends: ["Simulated"] },
];

export const permissions: readonly string[] = ["gpio", "log", "messaging", "sensor", "timer"];
