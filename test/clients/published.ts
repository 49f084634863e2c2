// A client that publishes its own document and key (CIMD), on an internet of its own: the server runs in this process,
// since the program fetches from public addresses alone.
import { type Fixture, startInternet } from "../internet.ts";
import { Browser, REDIRECT, startServer, testClock } from "../server.ts";
import { type Registered, type Site, newKey } from "./strict.ts";

export interface Published {
  readonly site: Site;
  /** Signs with the key of its document. */
  readonly client: Registered;
  /** Says that it is the same, and signs with another key. */
  readonly impostor: Registered;
  close(): Promise<void>;
}

export async function publishClient(): Promise<Published> {
  const internet = startInternet("chatgpt.com");
  // Assertions carry the time of this machine.
  const server = await startServer({ internet: internet.internet, clock: testClock(Date.now()) });
  const [own, other] = [await newKey(), await newKey()];
  const client = {
    client_id: publish(internet, own.jwk),
    token_endpoint_auth_method: "private_key_jwt",
  };
  return {
    site: {
      config: server.config,
      url: server.config.servers[0].resource,
      fetch: server.fetch,
      browser: new Browser(server),
    },
    client: { client, authentication: own.authentication },
    impostor: { client, authentication: other.authentication },
    close: async () => {
      await server.close();
      await internet.close();
    },
  };
}

function publish({ documents, url }: Fixture, jwk: JsonWebKey): string {
  const id = url("chatgpt.com", "/oauth/strict/client.json");
  const content = {
    client_id: id,
    client_name: "Strict",
    redirect_uris: [REDIRECT],
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [jwk] },
  };
  documents.set(id, () => Response.json(content));
  return id;
}
