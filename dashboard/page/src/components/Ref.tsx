// SPDX-License-Identifier: Apache-2.0

import { safeHref, visible } from "../lib/links";
import { shortCommit } from "../lib/numbers";
import { pathOf } from "../lib/paths";

// These links are plain, since a table has hundreds of them; the shell follows them without a reload.

/** An object's name, leading to its page. */
export function Ref({ kind, id, short = false }: { kind: string; id: string; short?: boolean }) {
  const path = pathOf(kind, id);
  const text = visible(short ? id.slice(id.indexOf("/") + 1) : id);
  return path ? (
    <a href={path} title={`${kind} ${id}`}>
      {text}
    </a>
  ) : (
    <span>{text}</span>
  );
}

/** A commit's short name, leading to its page. */
export function Commit({ commit }: { commit: string | undefined }) {
  return commit ? (
    <a href={`/commits/${encodeURIComponent(commit)}`} className="mono" title={commit}>
      {shortCommit(commit)}
    </a>
  ) : (
    <span className="muted">–</span>
  );
}

/** Text from outside; a link only when it is an https address. */
export function Outside({ text }: { text: string }) {
  const href = safeHref(text);
  return href ? (
    <a href={href} className="link" rel="noopener noreferrer nofollow" target="_blank">
      {visible(text)}
    </a>
  ) : (
    <span>{visible(text)}</span>
  );
}
