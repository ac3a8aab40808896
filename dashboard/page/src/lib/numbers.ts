// SPDX-License-Identifier: Apache-2.0

// Numbers for people.

/** A whole number: "10,000". By hand, since the first use of Intl takes 20 ms of the first view. */
export function count(n: number): string {
  return String(n).replace(/\B(?=(?:\d{3})+$)/g, ",");
}

/** "1 device", "12 devices" */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Bytes in powers of 1,024: "812 B", "4.2 KiB", "256 KiB". */
export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = n;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit] ?? ""}`;
}

/** A share of a whole as a percentage that never rounds up to "all" or down to "none": 9,999 of 10,000 is 99 %. */
export function percent(part: number, whole: number): number {
  if (whole <= 0) return 0;
  const p = (part / whole) * 100;
  if (p > 99 && p < 100) return 99;
  if (p > 0 && p < 1) return 1;
  return Math.round(p);
}

/** The first seven digits of a commit. */
export function shortCommit(commit: string): string {
  return commit.slice(0, 7);
}

/** "sha256:" and the first twelve digits of a digest. */
export function shortDigest(digest: string): string {
  const [algorithm, hex] = digest.split(":", 2);
  return hex ? `${algorithm ?? ""}:${hex.slice(0, 12)}` : digest.slice(0, 12);
}
