// SPDX-License-Identifier: Apache-2.0

// The few icons of the page, drawn on a grid of 16.
const drawings = {
  overview: "M2 9.5h3l1.8-5 2.6 8 1.8-5H14",
  commits: "M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM1 8h4.5M10.5 8H15",
  applications: "M2.5 2.5h4.5v4.5H2.5zM9 2.5h4.5v4.5H9zM2.5 9h4.5v4.5H2.5zM9 11.2h4.5M11.2 9v4.5",
  devices: "M4.5 4.5h7v7h-7zM6.5 1.5v3M9.5 1.5v3M6.5 11.5v3M9.5 11.5v3M1.5 6.5h3M1.5 9.5h3M11.5 6.5h3M11.5 9.5h3",
  gateways: "M8 13.5V8M8 8a1 1 0 1 0 0-2 1 1 0 0 0 0 2zM4.8 10.2a4.5 4.5 0 0 1 0-6.4M11.2 3.8a4.5 4.5 0 0 1 0 6.4M2.6 12.2a7.6 7.6 0 0 1 0-10.4M13.4 1.8a7.6 7.6 0 0 1 0 10.4",
  topology: "M6 2h4v3.5H6zM1.5 10.5h4V14h-4zM10.5 10.5h4V14h-4zM8 5.5V8M3.5 10.5V8h9v2.5",
  events: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM8 4.5V8l2.5 1.8",
  terminal: "M1.5 2.5h13v11h-13zM4 6l2.5 2L4 10M8 10.5h4",
  start: "M3 2.5h6.5L13 6v7.5H3zM9.5 2.5V6H13M8 8v4M6 10h4",
  menu: "M2 4h12M2 8h12M2 12h12",
  keyboard: "M1.5 4h13v8.5h-13zM4 6.7h.01M6.7 6.7h.01M9.3 6.7h.01M12 6.7h.01M4.5 10h7",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
  moon: "M13.5 9.8A6 6 0 1 1 6.2 2.5a4.8 4.8 0 0 0 7.3 7.3z",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3 14 14",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
} as const;

export type IconName = keyof typeof drawings;

/** A drawing that says nothing to a screen reader: a word stands beside it. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.35" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={drawings[name]} />
    </svg>
  );
}
