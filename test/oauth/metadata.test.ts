import { afterEach, describe, expect, test } from "bun:test";
import { type TestServer, startServer } from "../server.ts";

let server: TestServer;
afterEach(() => server.close());

const json = async (path: string): Promise<Record<string, unknown>> => {
  const response = await server.fetch(path);
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    "application/json",
  ]);
  return (await response.json()) as Record<string, unknown>;
};

const methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
const algorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"];

describe.each([
  ["https://host.test", "", ""],
  ["https://host.test/base", "/base", "/base"],
  ["http://localhost:7676", "", ""],
])("public URL %s", (url, base, inserted) => {
  test("RFC 8414 §3: the issuer's metadata, whatever the request says", async () => {
    server = await startServer({ settings: { url } });
    const metadata = await json(`/.well-known/oauth-authorization-server${inserted}`);
    expect(metadata).toEqual({
      issuer: url,
      authorization_endpoint: `${url}/authorize`,
      token_endpoint: `${url}/token`,
      registration_endpoint: `${url}/register`,
      revocation_endpoint: `${url}/revoke`,
      introspection_endpoint: `${url}/introspect`,
      response_types_supported: ["code"],
      response_modes_supported: ["query"],
      grant_types_supported: ["authorization_code", "refresh_token"],
      token_endpoint_auth_methods_supported: methods,
      token_endpoint_auth_signing_alg_values_supported: algorithms,
      revocation_endpoint_auth_methods_supported: methods,
      revocation_endpoint_auth_signing_alg_values_supported: algorithms,
      introspection_endpoint_auth_methods_supported: methods.slice(1, 3),
      client_id_metadata_document_supported: true,
      code_challenge_methods_supported: ["S256"],
      authorization_response_iss_parameter_supported: true,
      scopes_supported: ["mcp"],
      protected_resources: [`${url}/mcp`],
    });
    const other = await server.fetch(`/.well-known/oauth-authorization-server${inserted}?x=1`, {
      headers: {
        "x-forwarded-host": "evil.test",
        "x-forwarded-proto": "http",
        forwarded: "host=evil.test",
      },
    });
    expect(await other.json()).toEqual(metadata);
    expect(await json("/.well-known/oauth-authorization-server")).toEqual(metadata);
  });

  test("every advertised endpoint exists", async () => {
    server = await startServer({ settings: { url } });
    const metadata = await json("/.well-known/oauth-authorization-server");
    for (const [name, endpoint] of Object.entries(metadata)) {
      if (!name.endsWith("_endpoint")) continue;
      expect([name, (await server.fetch(String(endpoint))).status]).not.toEqual([name, 404]);
    }
  });

  test("RFC 9728 §3: the resource's metadata echoes the probed spelling; the root form names the real one", async () => {
    server = await startServer({ settings: { url } });
    const wellKnown = "/.well-known/oauth-protected-resource";
    for (const [path, resource] of [
      [`${wellKnown}${base}/mcp`, `${url}/mcp`],
      [`${wellKnown}${base}/mcp/`, `${url}/mcp/`],
      [wellKnown, `${url}/mcp`],
    ] as const) {
      expect(await json(path)).toMatchObject({
        resource,
        authorization_servers: [url],
        scopes_supported: ["mcp"],
        bearer_methods_supported: ["header"],
      });
    }
  });

  test.each([
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server/mcp",
    "/.well-known/oauth-protected-resource/nope",
    "/.well-known/jwks.json",
    "/.well-known/security.txt",
    "/.well-known/",
  ])("%s is 404 JSON", async (path) => {
    server = await startServer({ settings: { url } });
    const response = await server.fetch(path, { headers: { origin: "https://web.test" } });
    expect([response.status, response.headers.get("content-type")]).toEqual([
      404,
      "application/json;charset=utf-8",
    ]);
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    expect(await response.text()).not.toContain("well-known");
  });
});

test("metadata answers HEAD, and OPTIONS from a browser", async () => {
  server = await startServer();
  const path = "/.well-known/oauth-authorization-server";
  const head = await server.fetch(path, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  const options = await server.fetch(path, {
    method: "OPTIONS",
    headers: {
      origin: "https://web.test",
      "access-control-request-headers": "mcp-protocol-version",
    },
  });
  expect(options.status).toBe(204);
  expect(options.headers.get("access-control-allow-headers")).toContain("MCP-Protocol-Version");
});

test("MCP 2025-03-26: /authorize, /token and /register stand at the root of the origin", async () => {
  server = await startServer();
  for (const path of ["/authorize", "/token", "/register"]) {
    expect((await server.fetch(path)).status).not.toBe(404);
  }
});
