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

interface Click {
  defaultPrevented: boolean;
  button: number;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
  target: unknown;
}

/** The path of this page that a click leads to, undefined when it is the browser's business: another tab, another site. */
export function pathToFollow(click: Click): string | undefined {
  if (click.defaultPrevented || click.button !== 0 || click.ctrlKey || click.metaKey || click.altKey || click.shiftKey) return undefined;
  const link = click.target instanceof Element ? click.target.closest("a") : null;
  const path = link?.getAttribute("href");
  return path && !link?.target && /^\/(?!\/)/.test(path) ? path : undefined;
}
