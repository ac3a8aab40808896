// SPDX-License-Identifier: Apache-2.0

import hooks from "eslint-plugin-react-hooks";
import { defineConfig } from "eslint/config";
import ts from "typescript-eslint";

// Rooms of the page: lib and components know no feature, features know no other feature, only app knows all.
const upwards = { regex: "/(features|app)/", message: "lib and components are below features and app" };
const sideways = { regex: "^\\.\\./(?!\\.\\./)", message: "a feature does not import another one: what both need belongs into components or lib" };

// The page reads. A request that could write has no place in it.
const writes = [
  { selector: "CallExpression[callee.name='fetch'] Property[key.name='method']", message: "the page has GET requests only" },
  { selector: "NewExpression[callee.name='XMLHttpRequest']", message: "the page has GET requests only: lib/api.ts" },
  { selector: "MemberExpression[property.name='sendBeacon']", message: "the page has GET requests only: lib/api.ts" },
  { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "text from outside stays text" },
  { selector: "MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]", message: "text from outside stays text" },
];

// Chromium 156 keeps something of every <thead> for as long as the page is open, and a whole page of its heap with it.
const leaks = [{ selector: "JSXOpeningElement[name.name='thead']", message: "the head of a table is a <tbody> of its own: chromium keeps a part of each <thead>" }];

export default defineConfig(
  { ignores: ["node_modules"] },
  ts.configs.strictTypeChecked,
  hooks.configs.flat.recommended,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ["eslint.config.js"] }, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-restricted-syntax": ["error", ...writes, ...leaks],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "no-control-regex": "off", // control characters are what links.ts and terminal.ts are about
      "max-lines-per-function": ["error", { max: 80, skipComments: true, skipBlankLines: true }],
    },
  },
  { files: ["src/**"], ignores: ["src/lib/api.ts"], rules: { "no-restricted-globals": ["error", { name: "fetch", message: "requests are made in lib/api.ts" }, { name: "localStorage", message: "nothing is kept in the browser but the theme, by Mantine" }] } },
  { files: ["src/lib/**", "src/components/**"], rules: { "@typescript-eslint/no-restricted-imports": ["error", { patterns: [upwards] }] } },
  { files: ["src/lib/**"], rules: { "@typescript-eslint/no-restricted-imports": ["error", { patterns: [upwards, { regex: "/components/", message: "lib is below components" }] }] } },
  { files: ["src/features/**"], rules: { "@typescript-eslint/no-restricted-imports": ["error", { patterns: [sideways, { regex: "/app/", message: "features are below app" }] }] } },
  { files: ["test/**", "tools/**"], rules: { "max-lines-per-function": "off", "@typescript-eslint/no-non-null-assertion": "off" } },
  { files: ["eslint.config.js"], extends: [ts.configs.disableTypeChecked] },
);
