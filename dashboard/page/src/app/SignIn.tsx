// SPDX-License-Identifier: Apache-2.0

import { Button, PasswordInput } from "@mantine/core";
import { useState, type SubmitEvent, type ReactNode } from "react";

import { present } from "../lib/api";
import { useConnection, useSource } from "../lib/use";
import classes from "./SignIn.module.css";

const said = {
  refused: "The server does not know this token.",
  unreachable: "The server does not answer. Is the installation up?",
};

/** The page, or a request for a token when the server does not know this browser. */
export function SignIn({ children }: { children: ReactNode }) {
  const connection = useConnection();
  return connection.state === "refused" ? <Form /> : children;
}

function Form() {
  const source = useSource();
  const [token, setToken] = useState("");
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setBusy(true);
    const answer = await present(token.trim());
    setBusy(false);
    if (answer === "good") source.reconnect();
    else setTrouble(said[answer]);
  };
  return (
    <main className={classes.page}>
      <form className={classes.form} onSubmit={(e) => void submit(e)}>
        <img src="/icon.svg" width="40" height="40" alt="" />
        <h1>Wasmbed</h1>
        <p>This dashboard shows a fleet to those who have its token. On the installation's own machine, `wasmbed up` prints an address that carries it.</p>
        <PasswordInput label="Token" value={token} onChange={(e) => setToken(e.currentTarget.value)} error={trouble} autoComplete="off" data-autofocus />
        <Button type="submit" loading={busy} disabled={!token.trim()}>
          Look
        </Button>
      </form>
    </main>
  );
}
