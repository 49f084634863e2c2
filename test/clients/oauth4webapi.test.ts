// A strict client over the whole flow: for everything that the metadata advertise, something that passes the library's
// checks and something that fails them with the right error.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { advertised } from "./advertised.ts";
import { failure } from "./failure.ts";
import { type Published, publishClient } from "./published.ts";
import {
  type StrictClient,
  discover,
  discoverResource,
  inBody,
  inChallenge,
  strictClient,
} from "./strict.ts";

afterAll(stopProcesses);

describe.each(["", "/base"])("issuer with the path '%s'", (base) => {
  let postern: Postern;
  let strict: StrictClient;
  const seen: string[] = [];
  beforeAll(async () => {
    // One address does here what many do elsewhere.
    postern = await startPostern({ base, settings: { rateLimits: "off" } });
    strict = await strictClient(postern, (path, { headers }) => {
      seen.push(`${path} ${headers.get("cache-control")}`);
    });
  });
  describe("discovery", () => {
    test("RFC 8414 §3.3: the issuer is found under its own name", async () => {
      expect(await discover(postern.config.issuer)).toMatchObject({
        issuer: postern.config.issuer,
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
      });
    });

    test.each([
      [
        "under another name of the host",
        (issuer: string) => issuer.replace("localhost", "127.0.0.1"),
      ],
      ["under another path", (issuer: string) => `${issuer}/other`],
    ])("RFC 8414 §3.3: not %s", async (_name, other) => {
      expect(await failure(discover(other(postern.config.issuer)))).toMatchObject({
        name: "OperationProcessingError",
      });
    });

    test("RFC 9728 §3.3: the resource is found under its own name, with and without a slash", async () => {
      for (const resource of [postern.url, `${postern.url}/`]) {
        expect(await discoverResource(resource)).toMatchObject({
          resource,
          authorization_servers: [postern.config.issuer],
        });
      }
    });

    test("RFC 9728 §3.3: no other resource is", async () => {
      expect(await failure(discoverResource(`${postern.url}/other`))).toMatchObject({
        code: "OAUTH_RESPONSE_IS_NOT_CONFORM",
      });
    });

    test("RFC 6750 §3, RFC 9728 §5.1: the challenge of a wrong token leads to the metadata", async () => {
      expect(await failure(strict.call("pat_made-up"))).toMatchObject(
        inChallenge({
          scheme: "bearer",
          parameters: {
            error: "invalid_token",
            scope: "mcp",
            resource_metadata: expect.stringMatching(/\/\.well-known\/oauth-protected-resource/),
          },
        }),
      );
    });
  });

  test("all that is advertised is tried here", () => {
    const { server } = strict;
    const names = (list: string[] | undefined, label: string): string[] =>
      (list ?? []).map((name) => `${label} ${name}`);
    const tried = [
      ...Object.keys(advertised),
      // Below, with a document of the client's own.
      "token by private_key_jwt",
      "revocation by private_key_jwt",
    ];
    expect(tried.toSorted()).toEqual(
      [
        ...Object.keys(server).filter((member) => member.endsWith("_endpoint")),
        ...names(server.grant_types_supported, "grant"),
        ...names(server.token_endpoint_auth_methods_supported, "token by"),
        ...names(server.revocation_endpoint_auth_methods_supported, "revocation by"),
        ...names(server.introspection_endpoint_auth_methods_supported, "introspection by"),
      ].toSorted(),
    );
  });

  describe.each(Object.entries(advertised))("%s", (_name, { passes, fails }) => {
    test("passes", () => passes(strict));
    test.each(fails.map((fail) => [fail.name, fail] as const))(
      "fails for %s",
      async (_reason, { act, error }) => {
        expect(await failure(act(strict))).toMatchObject(error);
      },
    );
  });

  test("RFC 6749 §5.1: no answer of an endpoint may be cached, be it good or bad", () => {
    expect([...new Set(seen)].toSorted()).toEqual([
      "/introspect no-store",
      "/register no-store",
      "/revoke no-store",
      "/token no-store",
    ]);
  });
});

describe("RFC 7523: token and revocation by private_key_jwt", () => {
  let published: Published;
  let strict: StrictClient;
  beforeAll(async () => {
    published = await publishClient();
    strict = await strictClient(published.site);
  });
  afterAll(() => published.close());

  test("pass for the key that the client publishes", async () => {
    const { client } = published;
    const tokens = await strict.redeem(client, await strict.authorize(client));
    const second = await strict.refresh(client, tokens.refresh_token);
    expect((await strict.call(second.access_token)).status).toBe(200);
    await strict.revoke(client, second.refresh_token);
    expect(await failure(strict.refresh(client, second.refresh_token))).toMatchObject(
      inBody("invalid_grant"),
    );
  });

  test("fail for another key, and for a client that registered without one", async () => {
    const { client, impostor } = published;
    const tokens = await strict.redeem(client, await strict.authorize(client));
    const plain = await strict.register();
    for (const other of [impostor, { ...plain, authentication: client.authentication }]) {
      for (const act of [strict.refresh, strict.revoke]) {
        expect(await failure(act(other, tokens.refresh_token))).toMatchObject(
          inBody("invalid_client", 401),
        );
      }
    }
    expect((await strict.call(tokens.access_token)).status).toBe(200);
  });
});
