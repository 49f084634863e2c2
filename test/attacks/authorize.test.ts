// The authorization request under attack (P01 to P19, P66, P68): where an answer goes, and what is granted.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  Browser,
  REDIRECT,
  type Tokens,
  authorizationUrl,
  hiddenFields,
  obtainCode,
  redeemCode,
  registerClient,
} from "../server.ts";
import { type Stand, expectPage, startStand } from "./stand.ts";

let stand: Stand;
/** A client with one redirect URI of each kind. */
let clientId: string;
const WEB = "https://good.test/cb";
const APP = "com.example.app:/cb";
beforeAll(async () => {
  stand = await startStand({ scopes: "read write" });
  ({ client_id: clientId } = await registerClient(stand.server, {
    redirect_uris: [WEB, REDIRECT, APP],
  }));
});
afterAll(() => stand.close());

const url = (changes: Record<string, string | undefined>): string =>
  authorizationUrl(stand.server, clientId, changes);

/** Nobody is sent anywhere, signed in or not, whatever else is wrong with the request. */
async function expectNoWay(redirectUri: string): Promise<void> {
  await stand.attempt(async () => {
    for (const others of [
      {},
      { response_type: "token" },
      { prompt: "none" },
      { scope: "nonsense" },
      { code_challenge: undefined },
      { resource: "https://evil.test/" },
    ]) {
      for (const browser of [stand.owner, new Browser(stand.server)]) {
        const html = await expectPage(
          await browser.get(url({ ...others, redirect_uri: redirectUri })),
          400,
        );
        expect(html).not.toMatch(/value="allow"|http-equiv|<a [^>]*href="(?!\/)/);
      }
    }
  });
}

describe("P01 to P05, P07, P08: an answer goes to a registered redirect URI or nowhere", () => {
  test.each([
    "https://evil.test/cb",
    `${WEB}/../x`,
    `${WEB}%2f..`,
    `${WEB}?x=1`,
    `${WEB}#f`,
    `${WEB}.evil.test`,
    `${WEB};/`,
    `${WEB}/..;/x`,
    `${WEB}/`,
    `${WEB} `,
    "https://good.test/CB",
    "https://GOOD.test/cb",
    "https://good.test:443/cb",
    "https://good.test/./cb",
    "https://good.test//cb",
    "https://good.test/%63b",
    "http://good.test/cb",
    "//good.test/cb",
    "https://good.test@evil.test/cb",
    "https://good.test%25@evil.test/cb",
    "https:good.test\\@evil.test",
    "https://good.test\\.evil.test/cb",
    "https://user@good.test/cb",
    "https://good.test\u3002evil.test/cb",
  ])("instead of %s: %s", async (redirectUri) => {
    await expectNoWay(redirectUri);
  });

  test.each([
    "http://localhost.evil.test:9/callback",
    "http://127.0.0.1.evil.test/callback",
    "http://127.0.0.1@evil.test/callback",
    "http://127.0.0.1:9@evil.test/callback",
    "http://0x7f.1:9/callback",
    "http://2130706433:9/callback",
    "http://127.1:9/callback",
    "http://127.0.0.2:9/callback",
    "http://[::ffff:127.0.0.1]:9/callback",
    "http://[::1]:9/callback",
    "http://localhost:9/callback",
    "https://127.0.0.1:9/callback",
    "http://127.0.0.1:9/other",
    "http://127.0.0.1:9/callback/",
    "http://127.0.0.1:9/callback?x",
    "http://127.0.0.1:/callback",
    "http://127.0.0.1:999999/callback",
  ])("P04, P05: nor to %s", async (redirectUri) => {
    await expectNoWay(redirectUri);
  });

  test.each([
    "com.example.app:/cb/",
    "com.example.app://cb",
    "COM.EXAMPLE.APP:/cb",
    "javascript:1",
  ])("nor to the app %s", async (redirectUri) => {
    await expectNoWay(redirectUri);
  });

  test("RFC 8252 §7.3: the port of loopback alone is free", async () => {
    const changes = { redirect_uri: REDIRECT.replace(":9/", ":61000/") };
    const answer = await stand.owner.authorize(url(changes));
    expect(answer.headers.get("location")).toStartWith("http://127.0.0.1:61000/callback?code=");
  });
});

describe("P17, P66: the way back carries nothing of the form", () => {
  test.each(["allow", "deny"] as const)("%s: 303 with the answer alone", async (decision) => {
    const html = await (await stand.owner.get(url({ redirect_uri: WEB }))).text();
    const answer = await stand.owner.post("/consent", {
      ...hiddenFields(html),
      decision,
      redirect_uri: "https://evil.test/cb",
      client_id: stand.victim.clientId,
      scope: "admin",
      state: "other",
    });
    expect(answer.status).toBe(303);
    expect(answer.headers.get("referrer-policy")).toBe("no-referrer");
    expect(await answer.text()).toBe("");
    const location = new URL(answer.headers.get("location") ?? "");
    expect(location.origin + location.pathname).toBe(WEB);
    expect([...location.searchParams.keys()].toSorted()).toEqual(
      decision === "allow"
        ? ["code", "iss", "state"]
        : ["error", "error_description", "iss", "state"],
    );
    expect(location.searchParams.get("state")).toBe("st4te");
  });
});

describe("P18: what is granted is what was shown", () => {
  test.each<[string | undefined, string]>([
    ["read", "read"],
    ["write read", "read write"],
    ["read read", "read"],
    ["read admin", "read"],
    ["openid read offline_access", "read"],
    ["", "read write"],
    [undefined, "read write"],
  ])("%p: %p", async (scope, granted) => {
    const changes = { scope, redirect_uri: REDIRECT };
    const html = await (await stand.owner.get(url(changes))).text();
    const shown = [...html.matchAll(/<li><code>([^<]*)<\/code>/g)].map(([, word]) => word);
    expect(shown.join(" ")).toBe(granted);
    const code = await obtainCode(stand.server, clientId, changes, stand.owner);
    const tokens = (await (await redeemCode(stand.server, clientId, code)).json()) as Tokens;
    expect(tokens.scope).toBe(granted);
  });

  test.each(["admin", '"read"', "read\u00a0write", "re\\ad", "x".repeat(5000), "READ"])(
    "nothing for %s",
    async (scope) => {
      await stand.attempt(async () => {
        const answer = await stand.owner.get(url({ scope, redirect_uri: REDIRECT }));
        expect(answer.headers.get("location")).toStartWith(`${REDIRECT}?error=invalid_scope`);
      });
    },
  );
});

describe("P15: a state comes back as it was or not at all, and never as a header", () => {
  test.each(["%0d%0aSet-Cookie:%20a=b", "%00", "%E2%80%A8", "%ff%fe", "a%22b%27c%3C"])(
    "%s",
    async (state) => {
      await stand.attempt(async () => {
        const bare = url({ state: undefined, scope: "nonsense", redirect_uri: REDIRECT });
        const answer = await stand.owner.get(`${bare}&state=${state}`);
        expect(answer.headers.get("location")).toEndWith(`&state=${state}`);
        expect(answer.headers.getSetCookie()).toEqual([]);
      });
    },
  );
});

describe("P68: no page can be framed, sniffed, stored or made to load anything", () => {
  const pages: Record<string, () => Promise<Response>> = {
    home: () => stand.owner.get("/"),
    connect: () => stand.owner.get("/connect"),
    login: () => new Browser(stand.server).get("/login"),
    "login for a client": () => new Browser(stand.server).get(url({ redirect_uri: WEB })),
    "wrong password": () => new Browser(stand.server).signIn(undefined, "x"),
    consent: () => stand.owner.get(url({ redirect_uri: WEB })),
    "way back to an app": () => stand.owner.authorize(url({ redirect_uri: APP }), "deny"),
    "unknown client": () => stand.owner.get(url({ client_id: "nobody" })),
    "form of nobody": () => stand.owner.post("/consent", {}),
    "setup link": () => new Browser(stand.server).get("/setup?token=x"),
    "wrong method": () => stand.owner.get("/consent"),
    "too large": () => stand.owner.post("/login", { password: "x".repeat(40_000) }),
    nothing: () => stand.owner.send("/nothing", { headers: { accept: "text/html" } }),
  };
  // Of a page that a client may have opened as a popup, which waits for the end.
  const popups = ["login for a client", "consent"];

  test.each(Object.entries(pages))("%s", async (name, open) => {
    const { headers } = await open();
    const policy = (headers.get("content-security-policy") ?? "").split("; ");
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toContain("base-uri 'none'");
    expect(policy.join()).not.toMatch(/unsafe|\*|https?:|script-src|connect-src|frame-src/);
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("referrer-policy")).toMatch(/^(no-referrer|same-origin)$/);
    expect(headers.get("cross-origin-opener-policy")).toBe(
      popups.includes(name) ? null : "same-origin",
    );
    expect(headers.get("access-control-allow-origin")).toBeNull();
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8");
  });
});

describe("P49: what a request says of itself stays text on the page that refuses it", () => {
  const payloads = [
    `"><svg onload=alert(1)>`,
    `</code></title><script>alert(1)</script>`,
    "javascript:alert(1)",
    "\u202ehttps://evil.test",
    "`rm -rf`",
    "&lt;b&gt;&#60;i&#62;",
  ];
  /** Tags as a parser sees them. */
  async function tagsOf(response: Response): Promise<string[]> {
    const found: string[] = [];
    await new HTMLRewriter()
      .on("*", {
        element: ({ tagName, attributes }) =>
          void found.push([tagName, ...[...attributes].map(([name]) => name)].join(" ")),
      })
      .transform(response)
      .text();
    return found;
  }
  const places: Record<string, (text: string) => Promise<Response>> = {
    client_id: (text) => stand.owner.get(url({ client_id: text })),
    "a client_id that is a URL": (text) => stand.owner.get(url({ client_id: `https://${text}` })),
    redirect_uri: (text) => stand.owner.get(url({ redirect_uri: text })),
    "client_id, twice": (text) =>
      stand.owner.get(`${url({})}&client_id=${encodeURIComponent(text)}`),
    "a query without a client": (text) => stand.owner.get(`/authorize?${encodeURIComponent(text)}`),
    Origin: (text) =>
      stand.owner.post(
        "/login",
        {},
        { origin: encodeURI(text), "sec-fetch-site": encodeURI(text).replaceAll("%", "") },
      ),
    path: (text) =>
      stand.owner.send(`/nothing-${encodeURIComponent(text).replace(/%2f|%5c|%25|%3b/gi, "")}`, {
        headers: { accept: "text/html" },
      }),
    "a sealed form": (text) =>
      stand.owner.post("/consent", {
        request: `${Buffer.from(`{"query":"${text}","x":1}`).toString("base64url")}.1.x`,
      }),
  };

  for (const [place, send] of Object.entries(places)) {
    test.each(payloads)(`in ${place}: %s`, async (payload) => {
      await stand.attempt(async () => {
        const harmless = await tagsOf(await send("plain"));
        const answer = await send(payload);
        expect(answer.headers.get("location")).toBeNull();
        const html = await answer.clone().text();
        expect(html).not.toMatch(/[\u202a-\u202e\u2066-\u2069]|href="javascript:/);
        // A button back to the request appears for what can be one.
        const tags = (await tagsOf(answer)).filter((tag) => !/^(a class href|p|ul|li)$/.test(tag));
        expect(tags).toEqual(harmless.filter((tag) => !/^(a class href|p|ul|li)$/.test(tag)));
      });
    });
  }
});
