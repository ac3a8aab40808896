// SPDX-License-Identifier: Apache-2.0

// A whole installation for the browser's test: what `wasmbed up` brings up, and a clone of its fleet to push from.

import { execFile, type ExecFileOptions } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const repository = join(import.meta.dirname, "../../../..");
const program = join(repository, "bin/wasmbed");
const portsOfAnInstallation = 40;

export class Installation {
  readonly #work = mkdtempSync(join(tmpdir(), "wasmbed-browser-"));
  readonly #home = join(this.#work, "home");
  readonly fleet = join(this.#work, "fleet");
  /** The dashboard's address with its token, as `up` prints it. */
  address = "";

  async up(): Promise<void> {
    const said = await this.wasmbed(["up", "--detach", "--port-base", String(await freePorts())]);
    this.address = /http:\/\/127\.0\.0\.1:\d+\/\?token=\S+/.exec(said)?.[0] ?? "";
    if (!this.address) throw new Error(`wasmbed up printed no address of the dashboard:\n${said}`);
    await this.#git("clone", "-q", join(this.#home, "fleet.git"), this.fleet);
  }

  async down(): Promise<void> {
    await this.wasmbed(["down"]);
    rmSync(this.#work, { recursive: true, force: true });
  }

  get origin(): string {
    return new URL(this.address).origin;
  }

  get token(): string {
    return new URL(this.address).searchParams.get("token") ?? "";
  }

  async wasmbed(args: string[]): Promise<string> {
    return (await tell(program, ["--home", this.#home, ...args], { cwd: repository })).stdout;
  }

  read(path: string): string {
    return readFileSync(join(this.fleet, path), "utf8");
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.fleet, path)), { recursive: true });
    writeFileSync(join(this.fleet, path), text);
  }

  /** Compiles WebAssembly text of the fleet. */
  async assemble(path: string): Promise<void> {
    await tell("wat2wasm", [path, "-o", path.replace(/\.wat$/, ".wasm")], { cwd: this.fleet });
  }

  /** Commits everything and pushes it; the commit's name. */
  async push(subject: string): Promise<string> {
    await this.#git("-C", this.fleet, "add", "-A");
    await this.#git("-C", this.fleet, "-c", "user.name=Ada <b>Byron</b>", "-c", "user.email=ada@example.org", "commit", "-qm", subject);
    await this.#git("-C", this.fleet, "push", "-q");
    return (await this.#git("-C", this.fleet, "rev-parse", "HEAD")).stdout.trim();
  }

  /** Ends the dashboard's process without a warning; whoever supervises it starts it anew. */
  killDashboard(): void {
    process.kill(Number(readFileSync(join(this.#home, "run/dashboard.pid"), "utf8").trim()), "SIGKILL");
  }

  #git(...args: string[]) {
    return tell("git", args, {});
  }
}

async function tell(file: string, args: string[], options: ExecFileOptions) {
  return await run(file, args, { ...options, encoding: "utf8", maxBuffer: 16 << 20, timeout: 180_000 });
}

/** The first of a row of ports that nobody listens on, below those that the system gives to outgoing connections. */
async function freePorts(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 12_000 + Math.floor(Math.random() * 180) * 100;
    if ((await Promise.all(Array.from({ length: portsOfAnInstallation }, (_, i) => free(base + i)))).every(Boolean)) return base;
  }
  throw new Error("no free ports");
}

function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
