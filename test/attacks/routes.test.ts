// Every route, asked by everybody with everything that is odd: an answer in the right form, and never a failure of ours.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATH, adminRoutes } from "../../src/admin.ts";
import { seal } from "../../src/login/forms.ts";
import { routes } from "../../src/routes.ts";
import { odd, stateless } from "../gateway/stdio_stage.ts";
import {
  Browser,
  type TestServer,
  hiddenFields,
  logIn,
  obtainCode,
  startServer,
} from "../server.ts";
import { failures } from "./stand.ts";

let server: TestServer;
let owner: Browser;
beforeAll(async () => {
  server = await startServer();
  owner = new Browser(server);
  await restore();
});
afterAll(() => server.close());

/** An owner who is signed in, and something of every kind to show and to end. */
async function restore(): Promise<void> {
  await owner.signIn();
  const login = await logIn(server, { client_name: "A client" }, owner);
  await obtainCode(server, login.clientId, {}, owner);
}

const long = "x".repeat(3000);
const texts = ["", " ", "\u0000", "\r\nX: y", "../..", "%", "__proto__", "constructor", long];
const odds = ["\ud800", "\u202e<script>alert(1)</script>", "-1", "NaN", "1e999"];
const values: readonly unknown[] = [
  null,
  true,
  -1,
  1e308,
  0.5,
  ...texts,
  [],
  [[]],
  [null],
  ["x", 1],
  Array<string>(2000).fill("x"),
  {},
  { toString: 1, valueOf: null, constructor: "x" },
];

/** What every answer is, whatever was asked. */
async function expectForm(answer: Response, form: "json" | "page", what: string): Promise<void> {
  const text = await answer.text();
  const type = answer.headers.get("content-type") ?? "";
  expect([what, answer.status < 500 || answer.status === 503]).toEqual([what, true]);
  expect([what, /\n\s+at |\/src\/|node_modules|TypeError|undefined|\[object/.test(text)]).toEqual([
    what,
    false,
  ]);
  if (text === "") return;
  if (form === "json") {
    expect([what, type.split(";")[0]]).toEqual([what, "application/json"]);
    expect(() => JSON.parse(text) as unknown).not.toThrow();
    return;
  }
  expect([what, type]).toEqual([what, expect.stringMatching(/^text\/html/)]);
  expect(answer.headers.get("content-security-policy")).toMatch(/default-src 'none'.*frame-anc/);
  expect(answer.headers.get("x-frame-options")).toBe("DENY");
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(text).not.toContain("<script>alert");
}

const pages = routes.filter(({ errors }) => errors === "page");

describe("pages", () => {
  const names =
    "id ids all-but done count kind about before all token client_id redirect_uri until".split(" ");
  const asked = pages.filter(({ method }) => method === "GET").map(({ path }) => path);

  test.each(asked)("GET %s with odd queries", async (path) => {
    for (const browser of [owner, new Browser(server)]) {
      for (const text of [...texts, ...odds]) {
        const query = new URLSearchParams(names.map((name) => [name, text]));
        const twice = `${query}&${query}`;
        for (const search of text === "" ? [query, twice, "%ff=%ff&%00=%zz&=&&&"] : [query]) {
          const answer = await browser.get(`${path}?${search}`);
          await expectForm(answer, "page", `${path} ${JSON.stringify(text.slice(0, 20))}`);
        }
      }
    }
    expect(failures(server)).toEqual([]);
  });

  const sent = pages.filter(({ method }) => method === "POST").map(({ path }) => path);
  const fields =
    "id ids name chosen servers scope expires_in until decision password password_again token count".split(
      " ",
    );

  test.each(sent)("POST %s with odd forms", async (path) => {
    for (const text of [...texts, ...odds]) {
      if ((await owner.get("/login")).status !== 303) await restore();
      const page = await (await owner.get("/account")).text();
      const all = Object.fromEntries(fields.map((name) => [name, text]));
      const answers = [
        await owner.post(path, { ...all, ...hiddenFields(page) }),
        await owner.post(path, { ...all, proof: text, request: text }),
        await owner.post(path, {}),
        await new Browser(server).post(path, all),
        await owner.send(path, {
          method: "POST",
          headers: { origin: server.config.origin, "content-type": "application/json" },
          body: JSON.stringify(all),
        }),
      ];
      for (const answer of answers)
        await expectForm(answer, "page", `${path} ${text.slice(0, 20)}`);
    }
    expect(failures(server)).toEqual([]);
  });

  test("a trail that somebody edited is shown as far as it can be read", async () => {
    const lines = [
      '{"at":"x","event":"login"}',
      '{"at":"","event":"grant_created","name":{"a":[1]}}',
      '{"at":"2026-11-21T00:00:00.000Z","event":"__proto__","address":7,"family":null}',
      '{"at":"2026-11-21T00:00:00.000Z","event":"refresh_reused","name":null,"network":[]}',
      `{"at":"9999-99-99","event":"${long}"}`,
      "[1]",
      "null",
      '{"at":',
    ];
    appendFileSync(join(server.folder, "audit.jsonl"), `${lines.join("\n")}\n`);
    for (const path of ["/account", "/account/activity", "/account/activity?all=yes"]) {
      const answer = await owner.get(path);
      expect([path, answer.status]).toEqual([path, 200]);
      await answer.text();
    }
    expect(failures(server)).toEqual([]);
  });
});

describe("the admin API", () => {
  const names =
    "name ids client_name redirect_uris confidential resource_server servers scope expires_in until password".split(
      " ",
    );
  const ids = ["x", "__proto__", "....", "%20", "%F0%9F%98%80", "a".repeat(4000), "s_x", "c_x"];

  test.each(adminRoutes.map(({ method, path }) => [method, path] as const))(
    "%s %s",
    async (method, path) => {
      const tried = method === "GET" ? values.slice(-12) : values;
      for (const [index, value] of tried.entries()) {
        // Some of them would do.
        if (path === "/password" && typeof value === "string") continue;
        if ((await owner.get("/login")).status !== 303) await restore();
        const session = (await server.deps.store.sessions.list()).at(-1);
        const headers = {
          "sec-fetch-site": "same-origin",
          "x-postern-proof": seal(server.deps, "account", session?.[0] ?? "", ""),
        };
        const url = ADMIN_PATH + path.replace("{id}", ids[index % ids.length] ?? "");
        const query = new URLSearchParams(
          ["limit", "before", "kind", "level", "event", "about"].map((name) => [
            name,
            JSON.stringify(value),
          ]),
        );
        const all = Object.fromEntries(names.map((name) => [name, value]));
        const named = { ...all, name: `a name ${index}`, client_name: "a name" };
        const json = { ...headers, "content-type": "application/json" };
        const bodies =
          method === "GET" ? [] : [value, all, named].map((each) => JSON.stringify(each));
        const answers = [
          await owner.send(`${url}?${query}`, { method, headers }),
          ...(await Promise.all(
            bodies.map((body) => owner.send(url, { method, headers: json, body })),
          )),
          await owner.send(url, { method, ...(method !== "GET" && { body: "{" }), headers: json }),
          await new Browser(server).send(url, { method, headers: json }),
        ];
        for (const answer of answers) {
          await expectForm(
            answer,
            "json",
            `${method} ${url.slice(0, 60)} ${JSON.stringify(value).slice(0, 20)}`,
          );
        }
      }
      expect(failures(server)).toEqual([]);
    },
    30_000,
  );
});

describe("the MCP endpoint", () => {
  const rpc = (more: object): object => ({ jsonrpc: "2.0", id: 1, method: "x", ...more });
  const bodies: readonly unknown[] = [
    ...values,
    ...values.map((id) => rpc({ id })),
    ...values.map((method) => rpc({ method })),
    ...values.map((params) => rpc({ params })),
    ...values.map((_meta) => rpc({ params: { _meta } })),
    ...values.map((progressToken) => rpc({ params: { _meta: { progressToken } } })),
    ...values.map((requestId) => rpc({ method: "notifications/cancelled", params: { requestId } })),
    ...values.map((protocolVersion) => rpc({ method: "initialize", params: { protocolVersion } })),
    ...values.map((result) => ({ jsonrpc: "2.0", id: 1, result })),
    ...values.map((error) => ({ jsonrpc: "2.0", id: 1, error })),
    ...values.map((jsonrpc) => rpc({ jsonrpc })),
    Array(101).fill(rpc({})),
  ];
  const named = values.map((name): [object, Record<string, string>] => {
    const [message, headers] = stateless(1, "tools/call", { name });
    return [message, { ...headers, "mcp-name": "x" }];
  });

  test.each(["plain", "stateless-told"])(
    "before a command that is %s",
    async (manner) => {
      const guarded = await startServer({ settings: { command: odd(manner) } });
      const { tokens } = await logIn(guarded);
      const send = async (body: unknown, headers: Record<string, string>): Promise<number> => {
        const answer = await guarded.fetch("/mcp", {
          method: "POST",
          // A command may leave a request without an answer.
          signal: AbortSignal.timeout(10_000),
          headers: {
            authorization: `Bearer ${tokens.access_token}`,
            "content-type": "application/json",
            accept: "application/json",
            ...headers,
          },
          body: JSON.stringify(body),
        });
        await expectForm(answer, "json", JSON.stringify(body).slice(0, 80));
        return answer.status;
      };
      const statuses = await Promise.all([
        ...bodies.map((body) => send(body, {})),
        ...bodies.map((body) => send(body, { "mcp-protocol-version": "2026-07-28" })),
        ...named.map(([body, headers]) => send(body, headers)),
      ]);
      expect(statuses).toContain(400);
      expect(statuses).toContain(200);
      expect(statuses).not.toContain(401);
      expect(failures(guarded)).toEqual([]);
      await guarded.close();
    },
    30_000,
  );
});
