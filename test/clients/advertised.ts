// What an authorization server can advertise, and how a strict client finds out that it is true.
import { expect } from "bun:test";
import { failure } from "./failure.ts";
import {
  type Authorized,
  type Registered,
  type StrictClient,
  authenticationOf,
  basicChallenge,
  inAnswer,
  inBody,
  notConforming,
} from "./strict.ts";

interface Failure {
  readonly name: string;
  readonly act: (strict: StrictClient) => Promise<unknown>;
  readonly error: object;
}
interface Advertised {
  readonly passes: (strict: StrictClient) => Promise<void>;
  readonly fails: readonly Failure[];
}

async function logIn(strict: StrictClient, method = "none") {
  const registered = await strict.register({ token_endpoint_auth_method: method });
  const tokens = await strict.redeem(registered, await strict.authorize(registered));
  return { registered, tokens };
}

/** The same client with another secret, or with one where it has none. */
function withSecret({ client }: Registered, method: string, secret: string): Registered {
  const changed = { ...client, token_endpoint_auth_method: method };
  return { client: changed, authentication: authenticationOf(changed, secret) };
}

async function redeemWith(
  strict: StrictClient,
  change: (authorized: Authorized) => void | Authorized,
): Promise<unknown> {
  const registered = await strict.register();
  const authorized = await strict.authorize(registered);
  return strict.redeem(registered, change(authorized) ?? authorized);
}

/** RFC 6749 §5.2: a challenge answers the scheme that was tried. */
const refusalBy = (method: string): object =>
  method === "client_secret_basic" ? basicChallenge : inBody("invalid_client", 401);

/** A client that authenticates by `method`: lets itself in, refreshes; the wrong secret is refused. */
const byMethod = (method: string): Advertised => ({
  passes: async (strict) => {
    const { registered, tokens } = await logIn(strict, method);
    expect(registered.client.token_endpoint_auth_method).toBe(method);
    expect(typeof registered.client.client_secret).toBe(method === "none" ? "undefined" : "string");
    expect((await strict.refresh(registered, tokens.refresh_token)).scope).toBe("mcp");
  },
  fails: [
    {
      name: method === "none" ? "a secret that it does not have" : "a wrong secret",
      act: async (strict) => {
        const { registered, tokens } = await logIn(strict, method);
        const given = method === "none" ? "client_secret_post" : method;
        return strict.refresh(withSecret(registered, given, "wrong"), tokens.refresh_token);
      },
      error: refusalBy(method),
    },
  ],
});

const revocationByMethod = (method: string): Advertised => ({
  passes: async (strict) => {
    const { registered, tokens } = await logIn(strict, method);
    await strict.revoke(registered, tokens.refresh_token);
    const after = await failure(strict.refresh(registered, tokens.refresh_token));
    expect(after).toMatchObject(inBody("invalid_grant"));
  },
  fails: [
    {
      name: "a client that is not registered",
      act: async (strict) => {
        const { registered, tokens } = await logIn(strict, method);
        const changed = withSecret(registered, method, "wrong");
        const client = { ...changed.client, client_id: "unknown" };
        return strict.revoke({ ...changed, client }, tokens.refresh_token);
      },
      error: refusalBy(method),
    },
  ],
});

const introspectionByMethod = (method: string): Advertised => ({
  passes: async (strict) => {
    const { registered, tokens } = await logIn(strict);
    const elsewhere = await strict.addResourceServer(method);
    expect(await strict.introspect(elsewhere, tokens.access_token)).toMatchObject({
      active: true,
      client_id: registered.client.client_id,
      scope: "mcp",
      sub: "owner",
      iss: strict.server.issuer,
    });
  },
  fails: [
    {
      name: "a wrong secret",
      act: async (strict) => {
        const { tokens } = await logIn(strict);
        const elsewhere = await strict.addResourceServer(method);
        return strict.introspect(withSecret(elsewhere, method, "wrong"), tokens.access_token);
      },
      // RFC 9110 §11.6.1: a challenge whatever was tried; nobody there is told to register again.
      error: basicChallenge,
    },
  ],
});

/** By the member or value of the metadata that advertises it. */
export const advertised: Record<string, Advertised> = {
  registration_endpoint: {
    passes: async (strict) => {
      const { client } = await strict.register({ client_name: "Strict", scope: "mcp" });
      expect(client).toMatchObject({
        client_name: "Strict",
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        scope: "mcp",
      });
    },
    fails: [
      {
        name: "RFC 7591 §3.2.2: a redirect URI that runs a script",
        act: (strict) => strict.register({ redirect_uris: ["javascript:alert(1)"] }),
        error: inBody("invalid_redirect_uri"),
      },
      {
        name: "RFC 7591 §3.2.2: a grant that is not offered",
        act: (strict) => strict.register({ grant_types: ["implicit"] }),
        error: inBody("invalid_client_metadata"),
      },
      {
        name: "an authentication method that is not offered",
        act: (strict) => strict.register({ token_endpoint_auth_method: "tls_client_auth" }),
        error: inBody("invalid_client_metadata"),
      },
    ],
  },
  authorization_endpoint: {
    passes: async (strict) => {
      const { answer } = await strict.authorize(await strict.register());
      expect([...answer.keys()].toSorted()).toEqual(["code", "iss", "state"]);
    },
    fails: [
      {
        name: "RFC 6749 §4.1.2.1: an owner who declines",
        act: async (strict) => strict.authorize(await strict.register(), { decision: "deny" }),
        error: inAnswer("access_denied"),
      },
      ...(
        [
          ["invalid_scope", { scope: "admin" }],
          ["invalid_target", { resource: "https://other.example/mcp" }],
          ["invalid_request", { code_challenge_method: "plain" }],
          ["unsupported_response_type", { response_type: "token" }],
          ["consent_required", { prompt: "none" }],
        ] as const
      ).map(([error, parameters]) => ({
        name: `${error} for ${JSON.stringify(parameters)}`,
        act: async (strict: StrictClient) =>
          strict.authorize(await strict.register(), { parameters }),
        error: inAnswer(error),
      })),
      {
        name: "RFC 6749 §10.12: the state of another request",
        act: async (strict) => strict.authorize(await strict.register(), { state: "another" }),
        error: notConforming,
      },
      {
        name: "RFC 9207 §2.4: an answer without iss",
        act: async (strict) =>
          strict.authorize(await strict.register(), { onTheWay: (answer) => answer.delete("iss") }),
        error: notConforming,
      },
      {
        name: "RFC 9207 §2.4: an answer of another issuer",
        act: async (strict) =>
          strict.authorize(await strict.register(), {
            onTheWay: (answer) => answer.set("iss", "https://mallory.example"),
          }),
        error: notConforming,
      },
    ],
  },
  token_endpoint: {
    passes: async (strict) => {
      const { tokens } = await logIn(strict);
      expect(tokens).toEqual({
        access_token: expect.stringMatching(/^pat_/),
        // The library puts it in lower case.
        token_type: "bearer",
        expires_in: 3600,
        refresh_token: expect.stringMatching(/^prt_/),
        scope: "mcp",
      });
    },
    fails: [
      {
        name: "RFC 6749 §5.2: a grant that is not offered",
        act: async (strict) => strict.grant(await strict.register(), "client_credentials"),
        error: inBody("unsupported_grant_type"),
      },
      {
        name: "RFC 6749 §5.2: an unknown client",
        act: async (strict) => {
          const { client, authentication } = await strict.register();
          const unknown = { client: { ...client, client_id: "unknown" }, authentication };
          return strict.refresh(unknown, "prt_x");
        },
        error: inBody("invalid_client", 401),
      },
    ],
  },
  "grant authorization_code": {
    passes: async (strict) => {
      const { tokens } = await logIn(strict);
      expect((await strict.call(tokens.access_token)).status).toBe(200);
    },
    fails: [
      {
        name: "RFC 7636 §4.6: the wrong verifier",
        act: (strict) => redeemWith(strict, (good) => ({ ...good, verifier: "w".repeat(43) })),
        error: inBody("invalid_grant"),
      },
      {
        name: "a code that nobody issued",
        act: (strict) => redeemWith(strict, ({ answer }) => answer.set("code", "pac_made-up")),
        error: inBody("invalid_grant"),
      },
      {
        name: "RFC 6749 §4.1.2: a code for the second time",
        act: async (strict) => {
          const registered = await strict.register();
          const authorized = await strict.authorize(registered);
          await strict.redeem(registered, authorized);
          return strict.redeem(registered, authorized);
        },
        error: inBody("invalid_grant"),
      },
      {
        name: "RFC 6749 §4.1.3: a code of another client",
        act: async (strict) => {
          const authorized = await strict.authorize(await strict.register());
          return strict.redeem(await strict.register(), authorized);
        },
        error: inBody("invalid_grant"),
      },
    ],
  },
  "grant refresh_token": {
    passes: async (strict) => {
      const { registered, tokens } = await logIn(strict);
      const second = await strict.refresh(registered, tokens.refresh_token);
      const third = await strict.refresh(registered, second.refresh_token);
      expect(new Set([tokens, second, third].map((each) => each.refresh_token)).size).toBe(3);
      expect((await strict.call(third.access_token)).status).toBe(200);
    },
    fails: [
      {
        name: "a token that nobody issued",
        act: async (strict) => strict.refresh(await strict.register(), "prt_made-up"),
        error: inBody("invalid_grant"),
      },
      {
        name: "RFC 6749 §10.4: a token of another client",
        act: async (strict) => {
          const { tokens } = await logIn(strict);
          return strict.refresh(await strict.register(), tokens.refresh_token);
        },
        error: inBody("invalid_grant"),
      },
      {
        name: "RFC 6749 §6: a wider scope",
        act: async (strict) => {
          const { registered, tokens } = await logIn(strict);
          return strict.refresh(registered, tokens.refresh_token, { scope: "mcp admin" });
        },
        error: inBody("invalid_scope"),
      },
      {
        name: "RFC 8707 §2.2: another resource",
        act: async (strict) => {
          const { registered, tokens } = await logIn(strict);
          const resource = "https://other.example/mcp";
          return strict.refresh(registered, tokens.refresh_token, { resource });
        },
        error: inBody("invalid_target"),
      },
    ],
  },
  "token by none": byMethod("none"),
  "token by client_secret_basic": byMethod("client_secret_basic"),
  "token by client_secret_post": byMethod("client_secret_post"),
  revocation_endpoint: {
    passes: async (strict) => {
      const { registered, tokens } = await logIn(strict);
      await strict.revoke(registered, tokens.access_token);
      expect(await failure(strict.call(tokens.access_token))).toMatchObject({ status: 401 });
      // RFC 7009 §2.1: an access token alone; the login goes on.
      expect((await strict.refresh(registered, tokens.refresh_token)).scope).toBe("mcp");
      // RFC 7009 §2.2: a token that is none is as good as revoked.
      await strict.revoke(registered, "prt_made-up");
    },
    fails: [
      {
        name: "RFC 7009 §2.1: a token of another client",
        act: async (strict) => {
          const { tokens } = await logIn(strict);
          return strict.revoke(await strict.register(), tokens.refresh_token);
        },
        error: inBody("invalid_grant"),
      },
    ],
  },
  introspection_endpoint: {
    passes: async (strict) => {
      const { registered, tokens } = await logIn(strict);
      const elsewhere = await strict.addResourceServer("client_secret_basic");
      await strict.revoke(registered, tokens.access_token);
      // RFC 7662 §2.2: nothing else is said of a token that is dead or none.
      for (const token of [tokens.access_token, "pat_made-up"]) {
        expect(await strict.introspect(elsewhere, token)).toEqual({ active: false });
      }
    },
    fails: [
      {
        name: "RFC 7662 §2.1: a client that is no resource server",
        act: async (strict) => {
          const { registered, tokens } = await logIn(strict, "client_secret_post");
          return strict.introspect(registered, tokens.access_token);
        },
        error: inBody("unauthorized_client", 403),
      },
    ],
  },
  "introspection by client_secret_basic": introspectionByMethod("client_secret_basic"),
  "introspection by client_secret_post": introspectionByMethod("client_secret_post"),
  "revocation by none": revocationByMethod("none"),
  "revocation by client_secret_basic": revocationByMethod("client_secret_basic"),
  "revocation by client_secret_post": revocationByMethod("client_secret_post"),
};
