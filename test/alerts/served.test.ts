// The real process tells its owner, and answers whether or not anybody listens.
import { afterAll, expect, test } from "bun:test";
import { startPostern, stopProcesses } from "../process.ts";
import { logIn, refreshWith, registerClient } from "../server.ts";

afterAll(stopProcesses);

interface Told {
  readonly event: string;
  readonly issuer: string;
  readonly text: string;
}

test("a client, its connection and a stolen token are told, without a secret", async () => {
  const bodies: string[] = [];
  const hook = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request) => {
      bodies.push(await request.text());
      return new Response();
    },
  });
  const postern = await startPostern({
    settings: {
      alertWebhook: `http://127.0.0.1:${hook.port}/`,
      refreshGrace: "0s",
      siblingGrace: "0s",
    },
  });
  const { clientId, tokens } = await logIn(postern);
  const refresh = async (token: string): Promise<string> =>
    (await (await refreshWith(postern, clientId, token)).json()).refresh_token;
  const third = await refresh(await refresh(tokens.refresh_token));
  expect((await refreshWith(postern, clientId, tokens.refresh_token)).status).toBe(400);
  const told = (): Told[] => bodies.map((body) => JSON.parse(body));
  while (bodies.length < 3) await Bun.sleep(5);
  expect(told().map(({ event }) => event)).toEqual([
    "new_client",
    "new_connection",
    "token_reused",
  ]);
  expect(told()[1]?.text).toContain(`postern grants revoke ${tokens.refresh_token.slice(4, 26)}`);
  expect(told()[0]?.issuer).toBe(postern.config.issuer);
  const secrets = [tokens.access_token, tokens.refresh_token, third, "pat_", "prt_", "pac_"];
  for (const secret of secrets) expect(bodies.join()).not.toContain(secret);
  await hook.stop(true);
});

test("nobody waits for a webhook that hangs, and a stop does not either", async () => {
  const hook = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 60,
    fetch: () => new Promise<Response>(() => undefined),
  });
  const postern = await startPostern({
    settings: { alertWebhook: `http://127.0.0.1:${hook.port}/`, rateLimits: "off" },
  });
  for (let index = 0; index < 30; index++) await registerClient(postern);
  const { tokens } = await logIn(postern);
  expect(tokens.access_token).toStartWith("pat_");
  expect(await postern.kill()).toBe(0);
  await hook.stop(true);
});
