// One sample of every page and of its variants, for the tests that look at all of them.
import { OAuthError } from "../../src/errors.ts";
import { connectPage } from "../../src/web/connect_page.ts";
import { consentPage } from "../../src/web/consent_page.ts";
import { errorPage, messagePage } from "../../src/web/error_page.ts";
import { addressPage, returnPage } from "../../src/web/return_page.ts";
import { homePage, loginPage, setupPage } from "../../src/web/pages.ts";

import type { AccountFrame } from "../../src/web/account_frame.ts";
import { accountSamples } from "./account_samples.ts";
export type Samples = Readonly<Record<string, () => Response>>;

interface Variation {
  readonly base?: string;
  /** Stands in every field that can hold free text; what a URI can hold of it stands in every URI. */
  readonly text?: string;
}

const NOW = 1_790_000_000;

/** All samples, as they are or with `text` everywhere. */
export function samplesOf({ base = "", text }: Variation = {}): Samples {
  const say = (usual: string): string => text ?? usual;
  const uri = (usual: string): string =>
    text === undefined
      ? usual
      : `${usual}${usual.includes("?") ? "&" : "?"}x=${text.replace(/[^\x21-\x7e]|[\\#]/g, "")}`;
  const hidden = { [say("request")]: say("c2VhbGVk.1790000600.dGFn") };
  const notes = { name: say("Notes"), resource: "https://mcp.example.com/mcp" };
  return {
    ...entrySamples(base, hidden, notes, say),
    ...consentSamples(base, hidden, notes, say, uri),
    ...outcomeSamples(base, say, uri),
    ...accountSamples(base, say),
  };
}

type Say = (usual: string) => string;
type Named = { readonly name: string; readonly resource: string };
type Hidden = Readonly<Record<string, string>>;

const loopback = { name: "localhost:7676/mcp", resource: "http://localhost:7676/mcp" };
const files = { name: "mcp.example.com/files", resource: "https://mcp.example.com/files" };

const account = (base: string, hidden: Hidden): AccountFrame => ({
  base,
  now: NOW,
  hidden: {},
  signOut: hidden,
});

const entrySamples = (base: string, hidden: Hidden, notes: Named, say: Say): Samples => ({
  home: () => homePage({ base, servers: [notes], signedIn: false }),
  "home-signed-in": () => homePage({ base, servers: [notes, files], signedIn: true }),
  setup: () => setupPage({ base, hidden, minLength: 8 }),
  "setup-wrong": () =>
    setupPage({ base, hidden, minLength: 8, problem: say("The two passwords differ.") }),
  login: () => loginPage({ base, hidden, forClient: false }),
  "login-wrong": () =>
    loginPage({ base, hidden, forClient: false, problem: say("That is not the password.") }),
  "login-client": () =>
    loginPage({ base, hidden, forClient: true, clientName: say("Claude Code") }),
  "login-wait": () =>
    loginPage({ base, hidden, forClient: true, clientName: say("Cursor"), wait: 90 }),
  connect: () => connectPage({ ...account(base, hidden), servers: [notes] }),
  "connect-loopback": () => connectPage({ ...account(base, hidden), servers: [loopback] }),
  "connect-several": () => connectPage({ ...account(base, hidden), servers: [notes, files] }),
});

function consentSamples(base: string, hidden: Hidden, server: Named, say: Say, uri: Say): Samples {
  const dcr = {
    base,
    hidden,
    server,
    clientId: say("Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0"),
    clientName: say("Claude"),
    registeredAt: NOW - 200,
    now: NOW,
    redirectUri: uri("https://claude.ai/api/mcp/auth_callback"),
    scopes: [say("mcp")],
    idleTtl: 90 * 86_400,
    absoluteTtl: 365 * 86_400,
  };
  const cimd = { ...dcr, registeredAt: undefined, verifiedHost: say("claude.ai") };
  return {
    "consent-narrowed": () =>
      consentPage({
        ...dcr,
        leash: { kind: "tools", tools: [say("add_note")] },
        tools: [{ name: say("read_note"), description: say("Reads a note."), readOnly: true }],
      }),
    consent: () =>
      consentPage({ ...cimd, clientId: uri("https://claude.ai/oauth/mcp-oauth-client-metadata") }),
    "consent-unverified": () =>
      consentPage({
        ...dcr,
        redirectUri: uri("https://claude.ai.connect.evil.example/cb"),
        scopes: ["notes:read", "notes:write"],
      }),
    "consent-lookalike": () =>
      consentPage({ ...dcr, clientName: say("\u0421laude"), redirectUri: "https://evil.example/" }),
    "consent-loopback": () =>
      consentPage({
        ...cimd,
        clientName: say("Claude Code"),
        redirectUri: uri("http://localhost:3118/callback"),
        server: loopback,
        offerAddress: true,
      }),
    "consent-app": () =>
      consentPage({
        ...dcr,
        clientName: say("Cursor"),
        redirectUri: uri("cursor://anysphere.cursor-mcp/oauth/callback"),
      }),
    "consent-readmit": () =>
      consentPage({ ...dcr, clientName: text(say), readmit: { kind: "unknown" } }),
    "consent-removed": () => consentPage({ ...dcr, readmit: { kind: "removed", at: NOW - 9e5 } }),
    "consent-moved": () => consentPage({ ...dcr, readmit: { kind: "moved" } }),
  };
}

/** A client that gave no name, unless the text is to stand everywhere. */
const text = (say: Say): string | undefined => (say("") === "" ? undefined : say(""));

function outcomeSamples(base: string, say: Say, uri: Say): Samples {
  const app = "cursor://anysphere.cursor-mcp/oauth/callback";
  const requestId = say("q8Zt1LwPz0aB");
  const refusal = new OAuthError(
    "invalid_request",
    say("the redirect URI is not one that this client registered"),
    {
      title: say("The client wants its answer somewhere else"),
      next: { path: "/", text: say("Home page") },
      advice: say(
        "Remove the connection in the client and add it again, so that it registers anew.\n" +
          "Claude Code: /mcp, then Clear authentication.\n" +
          "VS Code: MCP: List Servers, then Disconnect account.",
      ),
      facts: {
        clientName: say("Claude Code"),
        cause: say("its name was not found"),
        sent: [say("http://localhost:3118/other")],
        expected: [say("http://localhost/callback"), say("http://127.0.0.1/callback")],
      },
    },
  );
  const tooOld = new OAuthError("access_denied", "Nothing was allowed: the page is too old.", {
    title: "This page is too old to be answered",
    facts: { clientName: say("Claude Code") },
    advice: "Look at the request again and answer there.",
    next: { path: "/authorize?client_id=x", text: "Show the request again" },
  });
  const broken = new OAuthError("server_error", say("something went wrong in the server"));
  const full = new OAuthError("temporarily_unavailable", "the server cannot save changes now", {
    headers: { "retry-after": "5" },
  });
  return {
    return: () =>
      returnPage({
        base,
        clientName: say("Cursor"),
        location: uri(`${app}?code=pac_x&iss=https%3A%2F%2Fmcp.example.com&state=xyz`),
        outcome: { kind: "allowed" },
      }),
    "return-denied": () =>
      returnPage({
        base,
        clientName: say("Cursor"),
        location: uri(`${app}?error=access_denied`),
        outcome: { kind: "denied" },
      }),
    "return-refused": () =>
      returnPage({
        base,
        clientName: say("Cursor"),
        location: uri(`${app}?error=invalid_scope`),
        outcome: {
          kind: "refused",
          problem: say("none of the scopes is offered here"),
          requestId,
        },
      }),
    "return-shown": () =>
      addressPage({
        base,
        clientName: say("Codex"),
        location: uri(
          "http://127.0.0.1:41999/callback?code=pac_Zk3v0qYtZ1m9Q2w7bX5c8Au5T1rS2kq0&iss=http%3A%2F%2Flocalhost%3A7676&state=xyz",
        ),
      }),
    error: () => errorPage({ base, error: refusal, requestId }),
    "error-old": () => errorPage({ base, error: tooOld, requestId }),
    "error-server": () => errorPage({ base, error: broken, requestId }),
    "error-full": () => errorPage({ base, error: full, requestId }),
    message: () =>
      messagePage({
        base,
        title: say("Signed out"),
        lines: [say("Clients that you let in stay connected.")],
        next: { path: "/login", text: say("Sign in") },
      }),
  };
}

export const samples: Samples = samplesOf();
