// The owner's pages show what strangers wrote: names, addresses, programs, requests that were refused. All of it stays text.
import { expect, test } from "bun:test";
import { accountRoutes } from "../../src/account/routes.ts";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import {
  Browser,
  type TestServer,
  authorizationUrl,
  obtainCode,
  redeemCode,
  registerClient,
  startServer,
} from "../server.ts";

type Rows = readonly { readonly id: string }[];

/** Puts a text wherever one gets in, and gives all pages of the account afterwards, by path. */
async function livesWith(server: TestServer, text: string): Promise<Map<string, string>> {
  const owner = new Browser(server);
  const headers = { "user-agent": text };
  const redirect = `https://evil.test/cb?${encodeURIComponent(text)}`;
  await owner.signIn();
  const { client_id: id } = await registerClient(server, {
    client_name: text,
    client_uri: redirect,
    redirect_uris: [redirect],
  });
  const code = await obtainCode(server, id, { redirect_uri: redirect }, owner);
  expect((await redeemCode(server, id, code, { redirect_uri: redirect })).status).toBe(200);
  await obtainCode(server, id, { redirect_uri: redirect, state: text }, owner);
  const ask = async (method: string, path: string, body: object): Promise<void> => {
    const init = { method, headers: { "content-type": "application/json" } };
    const url = `http://postern${ADMIN_PATH}${path}`;
    await admin(new Request(url, { ...init, body: JSON.stringify(body) }), server.deps);
  };
  const idsOf = async (path: string): Promise<string[]> => {
    const answer = await admin(new Request(`http://postern${ADMIN_PATH}${path}`), server.deps);
    return ((await answer.json()) as Rows).map((row) => row.id);
  };
  await ask("POST", "/keys", { name: text.slice(0, 100) });
  const [clients, grants, keys] = await Promise.all(["/clients", "/grants", "/keys"].map(idsOf));
  for (const client of clients ?? []) await ask("PATCH", `/clients/${client}`, { name: text });
  for (const grant of grants ?? []) await ask("PATCH", `/grants/${grant}`, { name: text });
  await server.fetch("/mcp", { headers });
  await server.fetch("/mcp", { headers: { ...headers, origin: text } });
  await server.fetch("/", { headers: { ...headers, host: text, accept: "text/html" } });
  await server.fetch(`/${encodeURIComponent(text.replaceAll(/[/\\;%]/g, ""))}`, { headers });
  const stranger = new Browser(server);
  await stranger.send(authorizationUrl(server, text), { headers });
  await stranger.send(authorizationUrl(server, id, { redirect_uri: text }), { headers });
  await stranger.signIn(undefined, text);
  const about = encodeURIComponent(text);
  const pages = accountRoutes
    .filter(({ method }) => method === "GET")
    .flatMap(({ path }) => {
      const ids = path.includes("clients") ? clients : path.includes("keys") ? keys : grants;
      const one = ids?.[0] ?? "";
      return [
        path,
        `${path}?id=${one}&all=yes`,
        `${path}?id=${about}&about=${about}&done=${about}`,
      ];
    });
  const shown = new Map<string, string>();
  for (const path of [...pages, "/connect"]) {
    const answer = await owner.get(path);
    shown.set(path.replaceAll(/=[^&]*/g, ""), await answer.text());
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(policy).not.toMatch(/unsafe|script-src [^']|https?:/);
  }
  return shown;
}

/** The kinds of elements of a page: their attributes, and where links lead. */
async function kinds(html: string): Promise<Set<string>> {
  const found = new Set<string>();
  const rewriter = new HTMLRewriter().on("*", {
    element: (element) => {
      const attributes = [...element.attributes].map(([name, value]) =>
        /^(?:href|action|src|formaction)$/.test(name)
          ? `${name}=${value.split(/[?#]/, 1)[0]}`
          : name,
      );
      found.add([element.tagName, ...attributes.toSorted()].join(" "));
    },
  });
  await rewriter.transform(new Response(html)).text();
  return found;
}

test.each([
  '"><svg onload=alert(1)>',
  "' onmouseover=alert(1) x='",
  '" autofocus onfocus="alert(1)',
  "</title></style></textarea></select><script>alert(1)</script>",
  "<a href=https://evil.test>Sign in again</a>",
  "<form action=//evil.test><button>",
  "javascript:alert(1)",
  "<meta http-equiv=refresh content='0;url=//evil.test'><base href=//evil.test>",
  "--><!-- <![CDATA[ ${1} {{7*7}} <%= 1 %>",
  "&lt;script&gt;&#60;script&#62;",
])(
  "%s",
  async (text) => {
    const all = await Promise.all(
      ["plain words", text].map(async (each) => {
        const server = await startServer();
        const pages = await livesWith(server, each);
        await server.close();
        return pages;
      }),
    );
    const [plain, odd] = all;
    const usual = new Set<string>();
    for (const html of plain?.values() ?? []) for (const kind of await kinds(html)) usual.add(kind);
    let shown = 0;
    for (const [path, html] of odd ?? []) {
      const strange = [...(await kinds(html))].filter((kind) => !usual.has(kind));
      expect([path, strange]).toEqual([path, []]);
      if (html.includes(Bun.escapeHTML(text.slice(0, 12)))) shown++;
    }
    expect(shown).toBeGreaterThan(3);
  },
  20_000,
);
