// SPDX-License-Identifier: Apache-2.0

// GET requests, of which the page needs one: who am I? There is nothing here that writes, and ESLint keeps it so.

const session = "/api/v1/session";

/** Whether the server knows this browser. A server that does not answer at all is no refusal. */
export async function known(): Promise<boolean> {
  try {
    const answer = await fetch(session, { credentials: "same-origin", cache: "no-store" });
    return answer.status !== 401 && answer.status !== 403;
  } catch {
    return true;
  }
}

/** Shows a token to the server, which answers with its cookie when the token is good. */
export async function present(token: string): Promise<"good" | "refused" | "unreachable"> {
  try {
    const answer = await fetch(session, { credentials: "same-origin", cache: "no-store", headers: { Authorization: `Bearer ${token}` } });
    return answer.ok ? "good" : answer.status === 401 || answer.status === 403 ? "refused" : "unreachable";
  } catch {
    return "unreachable";
  }
}

/** Where the stream is. */
export function streamURL(location: Location): string {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/api/v1/stream`;
}
