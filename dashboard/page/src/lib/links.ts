// SPDX-License-Identifier: Apache-2.0

/**
 * The address to link to when text that came from a manifest, a commit or a device is an https address, and undefined
 * when it must stay text: any other scheme, credentials in the address, control characters.
 */
export function safeHref(text: string): string | undefined {
  if (!/^https:\/\/[^\s\u0000-\u001f]+$/i.test(text)) return undefined;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  if (url.protocol !== "https:" || url.username || url.password || !url.hostname) return undefined;
  return url.href;
}

/**
 * Text as one line that cannot reorder or hide what stands beside it: control characters and the characters that
 * change the direction of writing become visible boxes.
 */
export function visible(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "␦");
}
