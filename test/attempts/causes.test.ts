// What a stop means: every way to stop has its usual cause and what to try, in words for a person.
import { describe, expect, test } from "bun:test";
import { type Surroundings, judge } from "../../src/attempts/causes.ts";
import { type Attempt, type StepName, orderOf, stepNames } from "../../src/attempts/steps.ts";

const HOUR = 3600;
const NOW = 1_000_000;
const around: Surroundings = { registration: true, networks: new Set(), now: NOW };

interface Changes extends Partial<Attempt> {
  readonly error?: string;
  readonly reason?: string;
}

/** An attempt that passed everything up to a step, which ended so. */
function attempt(
  last: StepName,
  outcome: "passed" | "refused" = "passed",
  { error, reason, ...changes }: Changes = {},
): Attempt {
  const at = { first_at: NOW - HOUR, last_at: NOW - HOUR, times: 1 };
  return {
    id: "a",
    started_at: NOW - HOUR,
    last_at: NOW - HOUR,
    network: "203.0.113.0/24",
    agent: "client/1",
    steps: [
      ...stepNames
        .slice(0, orderOf(last))
        .map((step) => ({ step, outcome: "passed" as const, ...at })),
      { step: last, outcome, ...at, ...(error && { error }), ...(reason && { reason }) },
    ],
    last,
    ...changes,
  };
}

const refused = (step: StepName, reason: string, changes: Changes = {}): Attempt =>
  attempt(step, "refused", { error: "invalid_request", reason, ...changes });

// prettier-ignore
const rows: readonly (readonly [Attempt, RegExp, RegExp])[] = [
  [refused("challenge", "this web origin may not call the MCP endpoint"), /web page/, /--allowed-origins/],
  [refused("challenge", "this server does not answer to that Host"), /host name/, /Host \$host/],
  [refused("challenge", "the path can be read in more than one way"), /was told/, /log/],
  [attempt("challenge"), /scanner/, /postern doctor/],
  [attempt("metadata"), /went no further/, /slash/],
  [refused("registration", "registration needs the initial access token of this server"), /token/, /clients add/],
  [refused("registration", "too many registrations, try again later"), /very often/, /Wait/],
  [refused("registration", "redirect_uris is missing"), /redirect_uris is missing/, /Update/],
  [attempt("registration"), /no browser/, /link/],
  [refused("authorization", "The client is not registered with this server."), /does not have/, /Remove/],
  [refused("authorization", "The client asked to be answered at an address that it did not register."), /did not register/, /Remove/],
  [refused("authorization", "The client is not registered with this server.", { redirect_uri: "https://claude.ai/api/mcp/auth_callback" }), /does not have/, /Claude: Settings/],
  [refused("authorization", "The client is not registered with this server.", { client_name: "Codex", redirect_uri: "http://127.0.0.1:4321/callback" }), /does not have/, /codex mcp logout <name>, then/],
  [refused("authorization", "no owner yet"), /set this server up/, /setup link/],
  [refused("authorization", "the document cannot be fetched", { client_id: "https://claude.ai/c" }), /document of its maker/, /internet/],
  [refused("authorization", "the parameter state is repeated"), /state is repeated/, /Remove/],
  [attempt("authorization"), /nobody signed in/, /postern password/],
  [attempt("authorization", "passed", { client_name: "MCP CLI Proxy" }), /mcp-remote/, /printed/],
  [refused("login", "wrong password"), /wrong/, /postern password/],
  [refused("login", "too many wrong passwords"), /Too many/, /Wait/],
  [attempt("login"), /not answered/, /Allow/],
  [refused("consent", "the owner declined"), /declined/, /again/],
  [refused("consent", "this page is too old to be answered"), /too old/, /again/],
  [attempt("code", "passed", { redirect_uri: "http://localhost:5123/callback" }), /another machine/, /SSH/],
  [attempt("code", "passed", { redirect_uri: "cursor://x/callback" }), /app/, /Allow the browser/],
  [attempt("code", "passed", { redirect_uri: "https://claude.ai/api" }), /claude\.ai/, /postern doctor/],
  [refused("token", "unknown client", { error: "invalid_client" }), /secret/, /clients add/],
  [refused("token", "the code is for another resource", { error: "invalid_target" }), /another address/, /slash/],
  [refused("token", "the authorization code is not valid, log in again", { error: "invalid_grant" }), /too old/, /once/],
  [attempt("token"), /bot rules/, /Cloudflare/],
  [attempt("token", "passed", { agent: "python-httpx/0.28.1", client_name: "Claude", redirect_uri: "https://claude.ai/api/mcp/auth_callback" }), /Claude/, /160\.79\.104\.0\/21/],
  [refused("call", "the MCP server behind Postern cannot be reached"), /cannot be reached/, /--upstream/],
];

describe("a stop", () => {
  test.each(rows)("%#", (given, cause, remedy) => {
    const verdict = judge(given, around);
    expect(verdict.cause).toMatch(cause);
    expect(verdict.remedies?.join("\n")).toMatch(remedy);
    expect(verdict.remedies).not.toContain("");
  });

  test("closed registration explains why nobody registers", () => {
    const verdict = judge(attempt("metadata"), { ...around, registration: false });
    expect(verdict.cause).toMatch(/registration is closed/);
    expect(verdict.remedies?.[0]).toMatch(/clients add/);
  });

  test.each(["challenge", "metadata"] as const)(
    "a look at the %s from where somebody is logged in is nothing to worry about",
    (step) => {
      const networks = new Set(["203.0.113.0/24"]);
      const verdict = judge(attempt(step), { ...around, networks });
      expect(verdict.state).toBe("looked");
      expect(verdict.remedies?.join()).toMatch(/^Nothing/);
    },
  );

  test("whatever is refused has a cause", () => {
    for (const step of stepNames) {
      const verdict = judge(refused(step, "odd"), around);
      expect(verdict.state).toBe("stopped");
      expect(verdict.cause?.length).toBeGreaterThan(10);
      expect(verdict.where).toStartWith("refused at: ");
    }
  });
});

describe("what is no stop", () => {
  test("a client that is in", () => {
    expect(judge(attempt("call"), around)).toEqual({ state: "connected", where: "connected" });
  });

  test("a person takes a while to sign in, a client does not take so long for its code", () => {
    const recent = { last_at: NOW - 100 };
    expect(judge(attempt("authorization", "passed", recent), around).state).toBe("under way");
    expect(judge(attempt("code", "passed", recent), around).state).toBe("stopped");
    expect(judge({ ...attempt("code"), last_at: NOW - 10 }, around).state).toBe("under way");
  });

  test("a refusal is one at once", () => {
    const now = refused("login", "wrong password", { last_at: NOW });
    expect(judge(now, around).state).toBe("stopped");
  });

  test("what was refused and then passed is forgotten", () => {
    const at = { first_at: NOW, last_at: NOW, times: 1 };
    const mended: Attempt = {
      ...attempt("authorization"),
      steps: [
        { step: "registration", outcome: "refused", ...at },
        { step: "authorization", outcome: "passed", ...at },
      ],
    };
    expect(judge(mended, around).where).toMatch(/opened the browser/);
    expect(judge({ ...mended, last: "registration" }, around).where).toMatch(/registration/);
  });
});
