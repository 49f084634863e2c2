// The owner's password and session under attack (P63, P69 to P73, P75).
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { admin } from "../../src/admin.ts";
import { changePassword } from "../../src/admin/owner.ts";
import {
  Browser,
  PASSWORD,
  type TestServer,
  authorizationUrl,
  callMcp,
  hiddenFields,
  logIn,
  obtainCode,
  redeemCode,
  refreshWith,
  registerClient,
  startServer,
} from "../server.ts";
import { expectPage } from "./stand.ts";

/** The same server, asked from another address. */
const from = (server: TestServer, address: string): Pick<TestServer, "fetch" | "config"> => ({
  config: server.config,
  fetch: (path, init) => server.fetch(path, init, address),
});

const cookieOf = ({ cookies }: Browser): string =>
  [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");

describe("P63, P69: sessions", () => {
  const settings = [
    ["https://mcp.example.com", "__Host-postern"],
    ["http://localhost:7676", "postern_7676"],
  ] as const;

  test.each(settings)("%s: the cookie is %s and as narrow as it can be", async (url, name) => {
    const server = await startServer({ settings: { url } });
    const browser = new Browser(server);
    const response = await browser.signIn();
    const [cookie = ""] = response.headers.getSetCookie();
    const attributes = cookie
      .split("; ")
      .slice(1)
      .map((part) => part.toLowerCase());
    expect(cookie).toStartWith(`${name}=`);
    expect(attributes).toContain("httponly");
    expect(attributes).toContain("path=/");
    expect(attributes).toContain("samesite=lax");
    expect(attributes.includes("secure")).toBe(url.startsWith("https"));
    expect(attributes.filter((part) => part.startsWith("domain"))).toEqual([]);
    // Under any other name the same value is nothing.
    const value = browser.cookies.get(name) ?? "";
    for (const other of ["postern", "__host-postern", `${name}_`, `x${name}`, "postern_80"]) {
      const headers = { cookie: `${other}=${value}` };
      expect((await server.fetch("/connect", { headers })).status).toBe(303);
    }
    expect(
      (await server.fetch("/connect", { headers: { cookie: `${name}=${value}` } })).status,
    ).toBe(200);
    await server.close();
  });

  test("a session that was planted is not the one that the login makes", async () => {
    const server = await startServer();
    const attacker = new Browser(server);
    await attacker.get("/login");
    const victim = new Browser(server);
    const planted = "A".repeat(43);
    victim.cookies.set("postern_7676", planted);
    for (const [name, value] of attacker.cookies) victim.cookies.set(name, value);
    await victim.signIn();
    expect(victim.cookies.get("postern_7676")).not.toBe(planted);
    attacker.cookies.set("postern_7676", planted);
    expect((await attacker.get("/connect")).status).toBe(303);
    await server.close();
  });

  test("the server forgets a session at logout, after 12 idle hours and after 30 days", async () => {
    const server = await startServer();
    const ends: Record<string, (browser: Browser) => Promise<unknown>> = {
      logout: async (browser) => {
        const html = await (await browser.get("/connect")).text();
        return browser.post("/logout", hiddenFields(html));
      },
      idle: async (browser) => {
        server.clock.advance(3600);
        await browser.get("/connect");
        server.clock.advance(12 * 3600);
      },
      absolute: async (browser) => {
        for (let hours = 0; hours < 30 * 24; hours += 10) {
          server.clock.advance(10 * 3600);
          await browser.get("/connect");
        }
      },
    };
    for (const [name, end] of Object.entries(ends)) {
      const browser = new Browser(server);
      await browser.signIn();
      const cookie = cookieOf(browser);
      await end(browser);
      const { status } = await server.fetch("/connect", { headers: { cookie } });
      expect([name, status]).toEqual([name, 303]);
    }
    await server.close();
  });

  test.each(["", "x", "A".repeat(43), "A".repeat(4096), "__proto__", "..%2f", "null", '"'])(
    "the cookie %p is nobody",
    async (value) => {
      const server = await startServer();
      for (const name of ["postern_7676", "postern_7676_browser"]) {
        const headers = { cookie: `${name}=${value}; ${name}=${value}` };
        expect((await server.fetch("/connect", { headers })).status).toBe(303);
        expect((await server.fetch("/login", { headers })).status).toBe(200);
      }
      await server.close();
    },
  );
});

describe("P73: a login leads nowhere but to this server", () => {
  const targets = [
    "//evil.test",
    "/\\evil.test",
    "https:evil.test",
    "https://evil.test",
    "/%09/evil.test",
    "%0d%0aLocation:%20//evil.test",
  ];
  test.each(targets)("%s", async (target) => {
    const server = await startServer();
    const names = ["next", "return_to", "redirect", "continue", "url", "path", "request"];
    const query = names.map((name) => `${name}=${encodeURIComponent(target)}`).join("&");
    const browser = new Browser(server);
    const html = await (await browser.get(`/login?${query}`)).text();
    expect(html).not.toContain("evil.test");
    const extra = Object.fromEntries(names.slice(0, -1).map((name) => [name, target]));
    const response = await browser.post(`/login?${query}`, {
      ...hiddenFields(html),
      ...extra,
      password: PASSWORD,
    });
    expect([response.status, response.headers.get("location")]).toEqual([303, "/account"]);
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
    await server.close();
  });
});

describe("P70, P72: guessing", () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await startServer({ settings: { rateLimits: "on" } });
  });
  afterEach(() => server.close());

  const guess = async (address: string, password = "wrong password"): Promise<Response> => {
    const browser = new Browser(from(server, address));
    return browser.signIn(undefined, password);
  };

  test("five tries a prefix, then one a minute; the right password waits as well", async () => {
    for (let count = 0; count < 5; count++)
      expect((await guess(`2001:db8:1:1::${count}`)).status).toBe(403);
    for (const password of ["wrong password", PASSWORD]) {
      const response = await guess("2001:db8:1:1:ffff::1", password);
      expect([response.status, response.headers.getSetCookie()]).toEqual([429, []]);
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    }
    expect((await guess("2001:db8:1:2::1", PASSWORD)).status).toBe(303);
    server.clock.advance(60);
    expect((await guess("2001:db8:1:1::1", PASSWORD)).status).toBe(303);
  });

  test("fifty tries a network, then ten a minute, however many prefixes it has", async () => {
    const guesses: Promise<Response>[] = [];
    for (let count = 0; count < 60; count++) {
      guesses.push(guess(`2001:db8:9:${count}::1`));
      if (count % 20 === 19) await Promise.all(guesses);
    }
    const statuses = (await Promise.all(guesses)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 403)).toHaveLength(50);
    expect(statuses.filter((status) => status === 429)).toHaveLength(10);
    expect((await guess("2001:db8:9:ffff::1", PASSWORD)).status).toBe(429);
    expect((await guess("2001:db8:a:1::1", PASSWORD)).status).toBe(303);
    server.clock.advance(6);
    expect((await guess("2001:db8:9:ffff::1", PASSWORD)).status).toBe(303);
  });

  test("of a hundred tries at once from one prefix five are looked at", async () => {
    const { passwords } = server.deps;
    let looked = 0;
    const counted = {
      ...passwords,
      verify: (hash: string, text: string) => (looked++, passwords.verify(hash, text)),
    };
    Object.assign(server.deps, { passwords: counted });
    await Promise.all(Array.from({ length: 100 }, () => guess("198.51.100.1")));
    expect(looked).toBe(5);
  });

  test("addresses that a client claims change nothing", async () => {
    const statuses = [];
    for (let count = 0; count < 6; count++) {
      const browser = new Browser({
        config: server.config,
        fetch: (path, init = {}) => {
          const headers = new Headers(init.headers);
          headers.set("x-forwarded-for", `203.0.113.${count}`);
          headers.set("x-real-ip", `203.0.113.${count}`);
          headers.set("forwarded", `for=203.0.113.${count}`);
          return server.fetch(path, { ...init, headers }, "198.51.100.1");
        },
      });
      statuses.push((await browser.signIn(undefined, "wrong password")).status);
    }
    expect(statuses).toEqual([403, 403, 403, 403, 403, 429]);
  });

  test("guesses from a hundred prefixes do not keep the owner out", async () => {
    const guesses = Array.from({ length: 100 }, (_, index) =>
      guess(`2001:db8:${0x200 + index}::1`),
    );
    const statuses = (await Promise.all(guesses)).map(({ status }) => status);
    // What does not fit into the queue is told to come again.
    expect(new Set(statuses)).toEqual(new Set([403, 503]));
    expect((await guess("198.51.100.7", PASSWORD)).status).toBe(303);
  });

  test("after sixty wrong ones in all every further one waits, and the right one does not", async () => {
    for (let batch = 0; batch < 2; batch++) {
      const guesses = Array.from({ length: 31 }, (_, index) =>
        guess(`2001:db8:${0x500 + 31 * batch + index}::1`),
      );
      for (const answer of await Promise.all(guesses)) expect(answer.status).toBe(403);
    }
    let isAnswered = false;
    const wrong = guess("2001:db8:600::1").finally(() => (isAnswered = true));
    expect((await guess("198.51.100.7", PASSWORD)).status).toBe(303);
    expect(isAnswered).toBe(false);
    expect((await wrong).status).toBe(403);
  });

  test("of 200 logins at once two are hashed at a time, 32 wait, the others are 503 with a time", async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => guess(`2001:db8:${0x300 + index}::1`)),
    );
    const busy = answers.filter(({ status }) => status === 503);
    expect(answers.length - busy.length).toBeGreaterThanOrEqual(34);
    expect(busy.length).toBeGreaterThan(0);
    expect(busy.every((response) => Number(response.headers.get("retry-after")) > 0)).toBe(true);
  });

  test.each<[string, string]>([
    ["1,025 bytes", "x".repeat(1025)],
    ["31 KB", "x".repeat(31_000)],
    ["400 characters of 4 bytes", "\u{1f600}".repeat(400)],
    ["nothing", ""],
  ])("a password of %s is never hashed", async (_name, password) => {
    let looked = 0;
    const verify = async (): Promise<boolean> => (looked++, true);
    Object.assign(server.deps, { passwords: { ...server.deps.passwords, verify } });
    const response = await guess("198.51.100.9", password);
    expect([response.status, response.headers.getSetCookie(), looked]).toEqual([403, [], 0]);
  });

  test("P71: wrong is wrong, in the same words", async () => {
    const pages = new Set<string>();
    for (const password of [
      "",
      "x",
      PASSWORD.slice(0, -1),
      PASSWORD.toUpperCase(),
      "x".repeat(2000),
    ]) {
      const response = await guess(`2001:db8:4:${pages.size}${password.length}::1`, password);
      pages.add((await response.text()).replace(/value="[^"]*"/g, ""));
    }
    expect(pages.size).toBe(1);
  });
});

describe("P75: what ends everything ends it in one step", () => {
  const ways: Record<string, (server: TestServer) => Promise<unknown>> = {
    "a new password": (server) => changePassword("another long password", server.deps),
    "revoke-all": (server) =>
      admin(new Request("http://postern/admin/api/revoke-all", { method: "POST" }), server.deps),
  };

  test.each(Object.entries(ways))("%s", async (name, end) => {
    let server = await startServer();
    const owner = new Browser(server);
    const { clientId, tokens } = await logIn(server, {}, owner);
    const waiting = await registerClient(server);
    const code = await obtainCode(server, waiting.client_id, {}, owner);
    const page = await (await owner.get(authorizationUrl(server, clientId))).text();
    const { groups } = server.counters;
    await end(server);
    expect(server.counters.groups - groups).toBe(1);
    const expectDead = async (): Promise<void> => {
      expect((await callMcp(server, tokens.access_token)).status).toBe(401);
      expect((await refreshWith(server, clientId, tokens.refresh_token)).status).toBe(400);
      expect((await redeemCode(server, waiting.client_id, code)).status).toBe(400);
      const later = new Browser(server);
      for (const [cookie, value] of owner.cookies) later.cookies.set(cookie, value);
      expect((await later.get("/connect")).status).toBe(303);
      const sent = { ...hiddenFields(page), decision: "allow" };
      await expectPage(await later.post("/consent", sent), 403);
      const old = await new Browser(server).signIn(undefined, PASSWORD);
      expect(old.status).toBe(name === "revoke-all" ? 303 : 403);
    };
    await expectDead();
    server = await server.restart();
    await expectDead();
    await server.close();
  });

  test("a login that is under way while the password changes ends as nobody", async () => {
    const server = await startServer();
    const browser = new Browser(server);
    const html = await (await browser.get("/login")).text();
    const signingIn = browser.signIn(html);
    await changePassword("another long password", server.deps);
    await signingIn;
    expect((await browser.get("/connect")).status).toBe(303);
    await server.close();
  });

  test("a code that is redeemed while everything ends gives nothing that lasts", async () => {
    const server = await startServer();
    const { client_id: clientId } = await registerClient(server);
    const code = await obtainCode(server, clientId);
    const [redeemed] = await Promise.all([
      redeemCode(server, clientId, code),
      changePassword("another long password", server.deps),
    ]);
    expect([200, 400]).toContain(redeemed.status);
    expect(await server.deps.store.refresh_tokens.list()).toEqual([]);
    await server.close();
  });
});
