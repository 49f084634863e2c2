// The owner's pages on the way in: home, setup, login.
import type { Server } from "../config.ts";
import { type Html, type PageFrame, html, local, page } from "./html.ts";
import { displayName, span } from "./text.ts";

/** Hidden fields that come back with the POST: sealed requests and form tokens, by field name. */
export type HiddenFields = Readonly<Record<string, string>>;

export const hiddenInputs = (fields: HiddenFields): Html[] =>
  Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`,
  );

const problem = (text: string | undefined): Html | undefined =>
  text === undefined ? undefined : html`<p class="bad" role="alert" id="problem">${text}</p>`;

// Password managers file a password under a name; the one owner has none to type.
const userName = html`<input
  type="text"
  name="username"
  value="owner"
  autocomplete="username"
  hidden
/>`;

export interface HomePage extends PageFrame {
  readonly servers: readonly Pick<Server, "name" | "resource">[];
  readonly signedIn: boolean;
}

/** `GET /`: what this is, for whoever comes by. */
export function homePage({ base, servers, signedIn }: HomePage): Response {
  return page(
    { base, title: "Private MCP server" },
    html`<h1>A private MCP server</h1>
      <p>
        Apps that speak the Model Context Protocol can connect here, each with the owner’s
        permission.
      </p>
      ${servers.map(
        ({ name, resource }) =>
          html`<h2>${name}</h2>
            <p class="soft">Paste this address into your client:</p>
            <pre>${resource}</pre>`,
      )}
      <p>
        ${
          signedIn
            ? html`<a class="button main" href="${local(base, "/connect")}">Connect a client</a>
                <a class="button" href="${local(base, "/account")}">Connections</a>`
            : html`<a class="button" href="${local(base, "/login")}">Owner: sign in</a>`
        }
      </p>`,
  );
}

export interface SetupPage extends PageFrame {
  readonly hidden: HiddenFields;
  /** Shortest password that is taken, in characters. */
  readonly minLength: number;
  /** What was wrong with the last try. */
  readonly problem?: string;
}

/** The page behind the one-time setup link. POSTs `password` and `password_again` to /setup. */
export function setupPage(options: SetupPage): Response {
  const { base, hidden, minLength } = options;
  const wrong = problem(options.problem);
  return page(
    { base, title: "Set up", forms: "own", status: wrong ? 400 : 200 },
    html`<h1>Choose your password</h1>
      <p>
        You are the owner of this server. With this password you let clients in. It works at once;
        there is nothing else to set up.
      </p>
      ${wrong}
      <form method="post" action="${local(base, "/setup")}">
        ${hiddenInputs(hidden)}${userName}
        <label for="password">Password</label>
        <input
          type="password"
          id="password"
          name="password"
          autocomplete="new-password"
          minlength="${minLength}"
          required
          autofocus
          aria-describedby="${wrong ? "problem rule" : "rule"}"
          ${wrong && html` aria-invalid="true"`}
        />
        <p class="soft small" id="rule">
          At least ${minLength} characters. Anything goes: a few random words are strong and easy to
          type.
        </p>
        <label for="again">The same password again</label>
        <input
          type="password"
          id="again"
          name="password_again"
          autocomplete="new-password"
          minlength="${minLength}"
          required
        />
        <button class="main">Set password and continue</button>
      </form>`,
  );
}

export interface LoginPage extends PageFrame {
  readonly hidden: HiddenFields;
  /** Whether an authorization request waits behind this login. */
  readonly forClient: boolean;
  /** That client's name, as it gave it. */
  readonly clientName?: string | undefined;
  /** What was wrong with the last try. */
  readonly problem?: string;
  /** Seconds until the next try is taken. */
  readonly wait?: number;
}

/** POSTs `password` to /login. */
export function loginPage(options: LoginPage): Response {
  const { base, hidden, forClient, wait } = options;
  const wrong = problem(
    wait === undefined
      ? options.problem
      : `Too many wrong passwords. Wait ${span(wait)}, then try again.`,
  );
  return page(
    {
      base,
      title: "Sign in",
      status: wait !== undefined ? 429 : wrong ? 403 : 200,
      // The login ends at the client, when the consent that follows it is answered.
      forms: forClient ? "client" : "own",
      headers: wait === undefined ? {} : { "retry-after": String(Math.ceil(wait)) },
    },
    html`<h1>Sign in</h1>
      ${
        forClient &&
        html`<p>
          To decide about <strong><bdi>${displayName(options.clientName).text}</bdi></strong
          >, sign in first. Nothing is allowed until you say so on the next page.
        </p>`
      }
      ${wrong}
      <form method="post" action="${local(base, "/login")}">
        ${hiddenInputs(hidden)}${userName}
        <label for="password">Owner’s password</label>
        <input
          type="password"
          id="password"
          name="password"
          autocomplete="current-password"
          required
          autofocus${wrong && html` aria-invalid="true" aria-describedby="problem"`}
        />
        <button class="main">Sign in</button>
      </form>
      <p class="soft small">
        Forgotten? Set a new one on the server’s machine with
        <code class="whole">postern password</code>.
      </p>`,
  );
}
