// Forms that come from somewhere else than our own page, or to somebody else (P62, P63, P67, P74).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Browser, PASSWORD, authorizationUrl, hiddenFields } from "../server.ts";
import { type Stand, expectPage, startStand } from "./stand.ts";

const cookieOf = ({ cookies }: Browser): string =>
  [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");

describe("P62, P63: a form that another site sends changes nothing", () => {
  let stand: Stand;
  beforeAll(async () => {
    stand = await startStand();
  });
  afterAll(() => stand.close());

  type Form = [path: string, fields: Record<string, string>, browser: Browser];
  /** Each form as our own page gave it, and the browser that got it. */
  const forms: Record<string, () => Promise<Form>> = {
    login: async () => {
      const browser = new Browser(stand.server);
      const html = await (await browser.get("/login")).text();
      return ["/login", { ...hiddenFields(html), password: PASSWORD }, browser];
    },
    logout: async () => {
      const html = await (await stand.owner.get("/connect")).text();
      return ["/logout", hiddenFields(html), stand.owner];
    },
    consent: async () => {
      const url = authorizationUrl(stand.server, stand.victim.clientId);
      const html = await (await stand.owner.get(url)).text();
      return ["/consent", { ...hiddenFields(html), decision: "allow" }, stand.owner];
    },
    setup: async () => {
      const password = "another password";
      const token = stand.server.deps.setupToken;
      return ["/setup", { token, password, password_again: password }, stand.owner];
    },
  };
  const givenForm = async (kind: string): Promise<Form> =>
    (await forms[kind]?.()) ?? ["", {}, stand.owner];

  const origins: Record<string, Record<string, string>> = {
    "another site": { origin: "https://evil.test", "sec-fetch-site": "cross-site" },
    "another site in an old browser": { origin: "https://evil.test", "sec-fetch-site": "" },
    "a site of the same registrable domain": { "sec-fetch-site": "same-site" },
    "a sandboxed frame": { origin: "null", "sec-fetch-site": "cross-site" },
    "a sandboxed frame of our own page": { origin: "null", "sec-fetch-site": "same-origin" },
    "the address bar": { origin: "", "sec-fetch-site": "none" },
    "no browser": { origin: "", "sec-fetch-site": "" },
    "another port": { origin: "http://localhost:7677", "sec-fetch-site": "same-site" },
    "another scheme": { origin: "https://localhost:7676", "sec-fetch-site": "" },
    "a name that begins as ours": { origin: "http://localhost:76760", "sec-fetch-site": "" },
    "a user name before another host": {
      origin: "http://localhost:7676@evil.test",
      "sec-fetch-site": "",
    },
    "two origins": { origin: "http://localhost:7676 https://evil.test", "sec-fetch-site": "" },
    "a false same-origin": { origin: "https://evil.test", "sec-fetch-site": "same-origin" },
  };

  for (const form of Object.keys(forms)) {
    test.each(Object.entries(origins))(`${form} from %s`, async (_name, headers) => {
      await stand.attempt(async () => {
        const [path, fields, browser] = await givenForm(form);
        const sent = new Headers({ cookie: cookieOf(browser) });
        for (const [name, value] of Object.entries(headers)) if (value) sent.set(name, value);
        const body = new URLSearchParams(fields);
        const response = await stand.server.fetch(path, { method: "POST", headers: sent, body });
        await expectPage(response, 403);
        expect(response.headers.getSetCookie()).toEqual([]);
      });
      expect((await stand.owner.get("/connect")).status).toBe(200);
    });
  }

  test("P74: nothing is done by GET, HEAD or a link", async () => {
    for (const form of Object.keys(forms)) {
      await stand.attempt(async () => {
        const [path, fields, browser] = await givenForm(form);
        const url = `${path}?${new URLSearchParams(fields)}`;
        for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
          const response = await browser.send(url, { method });
          // The pages that hold the forms of these two stand under the same paths.
          const shown = { "/login": [200, 405], "/setup": [303, 405] }[path] ?? [405];
          expect(shown).toContain(response.status);
        }
      });
    }
    expect((await stand.owner.get("/connect")).status).toBe(200);
  });

  test("a form of one kind is none of another", async () => {
    for (const target of ["consent", "logout", "login"]) {
      for (const kind of ["consent", "logout", "login"]) {
        if (kind === target) continue;
        const [, fields] = await givenForm(kind);
        const [path, , browser] = await givenForm(target);
        await stand.attempt(async () => {
          const sent = { ...fields, decision: "allow", password: PASSWORD };
          await expectPage(await browser.post(path, sent), 403);
        });
      }
    }
  });

  test("P67: a consent page of one browser is of no use in another", async () => {
    const [path, fields] = await givenForm("consent");
    const other = new Browser(stand.server);
    await other.signIn();
    await stand.attempt(async () => expectPage(await other.post(path, fields), 403));
  });

  test("P67: nor in the same browser after another login", async () => {
    const browser = new Browser(stand.server);
    await browser.signIn();
    const url = authorizationUrl(stand.server, stand.victim.clientId);
    const fields = hiddenFields(await (await browser.get(url)).text());
    await browser.post("/logout", hiddenFields(await (await browser.get("/connect")).text()));
    await browser.signIn();
    await stand.attempt(async () =>
      expectPage(await browser.post("/consent", { ...fields, decision: "allow" }), 403),
    );
  });
});
