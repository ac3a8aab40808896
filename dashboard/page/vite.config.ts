// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";

import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin, type Rollup } from "vite";

const firstViewLimit = 350 * 1024;

/** What a browser needs for the first view: the entry, the page that it loads at once, what both import, styles, fonts of Latin text. */
function firstFiles(bundle: Rollup.OutputBundle): { scripts: string[]; styles: string[]; fonts: string[] } {
  const scripts = new Set<string>();
  const styles = new Set<string>();
  const visit = (name: string) => {
    const chunk = bundle[name];
    if (chunk?.type !== "chunk" || scripts.has(name)) return;
    scripts.add(name);
    for (const css of chunk.viteMetadata?.importedCss ?? []) styles.add(css);
    chunk.imports.forEach(visit);
  };
  const entry = Object.values(bundle).find((f) => f.type === "chunk" && f.isEntry) as Rollup.OutputChunk | undefined;
  if (entry) [entry.fileName, ...entry.dynamicImports].forEach(visit);
  return { scripts: [...scripts], styles: [...styles], fonts: Object.keys(bundle).filter((n) => /-latin-wght-normal-.*\.woff2$/.test(n)) };
}

// Fails the build when the first view, compressed, is larger than the limit, and has index.html name its files, so that a
// browser asks for all of them at once.
function firstView(): Plugin {
  return {
    name: "first-view",
    generateBundle(_, bundle) {
      const { scripts, styles, fonts } = firstFiles(bundle);
      let total = 0;
      for (const name of [...scripts, ...styles, ...fonts]) {
        const file = bundle[name];
        if (!file) continue;
        const content = file.type === "chunk" ? file.code : file.source;
        total += name.endsWith(".woff2") ? content.length : gzipSync(content).length;
      }
      const said = `first view: ${(total / 1024).toFixed(1)} KiB compressed, of at most ${firstViewLimit / 1024}`;
      if (total > firstViewLimit) this.error(said);
      console.log(said);
    },
    transformIndexHtml: {
      order: "post",
      handler(_, { bundle }) {
        if (!bundle) return [];
        const { scripts, styles, fonts } = firstFiles(bundle);
        const link = (name: string, attrs: Record<string, string>) => ({ tag: "link", attrs: { ...attrs, crossorigin: "", href: `/${name}` }, injectTo: "head" as const });
        return [
          ...scripts.slice(1).map((name) => link(name, { rel: "modulepreload" })), // the first is the entry, which is there already
          ...styles.map((name) => link(name, { rel: "preload", as: "style" })),
          ...fonts.filter((name) => name.includes("inter")).map((name) => link(name, { rel: "preload", as: "font", type: "font/woff2" })),
        ];
      },
    },
  };
}

// Fails the build when a component of the library is in it without its styles: src/app/mantine.ts has their list.
function styles(): Plugin {
  const classesOf = (text: string) => new Set(text.match(/\bm_[0-9a-f]{6,8}\b/g));
  return {
    name: "styles",
    generateBundle(_, bundle) {
      const files = Object.values(bundle);
      const styled = classesOf(files.map((f) => (f.type === "asset" && f.fileName.endsWith(".css") ? String(f.source) : "")).join("\n"));
      const known = classesOf(readFileSync(createRequire(import.meta.url).resolve("@mantine/core/styles.css"), "utf8"));
      const used = classesOf(files.map((f) => (f.type === "chunk" ? f.code : "")).join("\n"));
      const missing = [...used].filter((c) => known.has(c) && !styled.has(c));
      if (missing.length > 0) this.error(`src/app/mantine.ts misses the styles of ${missing.join(", ")}: grep them in node_modules/@mantine/core/styles`);
    },
  };
}

// The server embeds what is built: files with a hash in their names, nothing inline, nothing from elsewhere.
export default defineConfig({
  plugins: [react(), firstView(), styles()],
  build: {
    outDir: "../dist",
    emptyOutDir: true, // public/.keep comes back with every build
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
