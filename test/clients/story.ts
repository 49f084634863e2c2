// What every client has to live through, told once for each SDK: first login, expiry, crash, move of time, revocation, loss.
import { afterAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { GivenSettings } from "../../src/settings.ts";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { type Connection, type Sdk, connect, finish } from "./connection.ts";
import { failure } from "./failure.ts";
import { CLIENT_NAME, type Program, createProgram } from "./program.ts";
import { stopUpstreams } from "./upstreams.ts";

/** A life of access tokens that a test can wait for. */
const SHORT = "3s";
const expiry = (): Promise<void> => Bun.sleep(3_100);

/** Leaves the program an access token that is as good as an expired one, without the waiting. */
function spoil({ memory }: Program): void {
  if (!memory.tokens) throw new Error("not logged in");
  memory.tokens = { ...memory.tokens, access_token: `${memory.tokens.access_token}x` };
}

interface LoggedIn {
  readonly postern: Postern;
  readonly program: Program;
  readonly connection: Connection;
}

async function start(sdk: Sdk, settings: GivenSettings = {}, base = ""): Promise<Postern> {
  const upstream = await sdk.startUpstream?.(base);
  const behind = upstream === undefined ? {} : { upstream };
  return startPostern({ settings: { ...settings, ...behind }, base });
}

async function logIn(sdk: Sdk, settings: GivenSettings = {}, base = ""): Promise<LoggedIn> {
  const postern = await start(sdk, settings, base);
  const program = createProgram(postern.browser);
  const connection = await connect(sdk, endpoint(sdk, postern), program);
  return { postern, program, connection };
}

const endpoint = (sdk: Sdk, postern: Postern): string => postern.url + (sdk.endpoint ?? "");

/** The same connection, or the next one where it cannot outlive the server. */
const resume = async (sdk: Sdk, { postern, program, connection }: LoggedIn): Promise<Connection> =>
  sdk.lacks?.lastingSession === undefined
    ? connection
    : connect(sdk, endpoint(sdk, postern), program);

/** What was asked since so many requests, without the stream that 2025 clients open when they get to it. */
const since = ({ requests }: Program, count: number): string[] =>
  requests
    .slice(count)
    .filter((line) => !/^GET \S*\/mcp 405$/.test(line) && !line.includes("/.well-known/"));

/** How often each kind of thing happened that costs a person or a registration something. */
function account({ requests, logins }: Program): Record<string, number> {
  const count = (part: string): number => requests.filter((line) => line.includes(part)).length;
  return {
    logins: logins.length,
    registrations: count("/register "),
    codes: count(" authorization_code "),
    refreshes: count(" refresh_token "),
  };
}

/** The same program in a new process of its own: all that it has is what it stored. */
const startedAgain = ({ postern, program }: LoggedIn): Program =>
  createProgram(postern.browser, program.memory);

/** @param waits false: without what has to wait for tokens to expire by the clock */
export function tellStory(sdk: Sdk, waits = true): void {
  afterAll(async () => {
    await stopProcesses();
    await stopUpstreams();
    for (const copy of copies.splice(0)) rmSync(copy, { recursive: true, force: true });
  });
  describe(`${sdk.name}: login`, () => firstLogin(sdk));
  // Most of it is waiting, so it is done together.
  if (waits) describe.concurrent(`${sdk.name}: expiry`, () => expiryOfTokens(sdk));
  describe(`${sdk.name}: refresh`, () => refreshes(sdk));
  const reason = sdk.lacks?.lastingSession;
  const anew = reason === undefined ? "" : ` (it connects anew: ${reason})`;
  describe(`${sdk.name}: restart${anew}`, () => restarts(sdk));
  describe(`${sdk.name}: end`, () => ends(sdk));
}

function firstLogin(sdk: Sdk): void {
  test.each(["", "/base"])(
    "discovers, registers, logs in and calls whoami; path of the public URL: '%s'",
    async (base) => {
      const { postern, program, connection } = await logIn(sdk, {}, base);
      expect(connection.revision()).toBe(sdk.revision);
      expect(await connection.tools()).toEqual(["whoami"]);
      expect(await connection.call("whoami")).toMatchObject({
        subject: "owner",
        client: { id: program.memory.client?.client_id },
        ...(!sdk.startUpstream && {
          client: { id: program.memory.client?.client_id, name: CLIENT_NAME },
          scopes: ["mcp"],
          server: postern.url,
          since: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        }),
      });
      expect(account(program)).toEqual({ logins: 1, registrations: 1, codes: 1, refreshes: 0 });
      // Nothing was tried in vain but the first call, and the stream that is not offered.
      const refused = since(program, 0).filter((line) => /[45]\d\d$/.test(line));
      expect(refused).toEqual([
        expect.stringMatching(
          /^(POST \S*\/mcp (initialize|server\/discover)|GET \S*\/mcp\/sse) 401$/,
        ),
      ]);
      expect(program.requests.filter((line) => line.includes("/.well-known/"))).toSatisfy((lines) =>
        lines.every((line) => line.endsWith(" 200")),
      );
    },
  );

  test("RFC 9207 §2: every answer names the issuer, byte for byte", async () => {
    const { postern, program } = await logIn(sdk, {}, "/base");
    expect(program.answers.map((answer) => answer.getAll("iss"))).toEqual([
      [postern.config.issuer],
    ]);
  });

  test("a person who declines is answered access_denied, and may change their mind", async () => {
    const postern = await start(sdk);
    const program = createProgram(postern.browser);
    program.decision = "deny";
    const connection = sdk.open(endpoint(sdk, postern), program);
    expect(await failure(connection.connect())).toSatisfy(sdk.asksForLogin);
    const state = program.logins[0]?.searchParams.get("state") ?? undefined;
    expect(Object.fromEntries(program.answers[0] ?? [])).toEqual({
      error: "access_denied",
      error_description: expect.any(String),
      iss: postern.config.issuer,
      // Older SDKs send none.
      ...(state !== undefined && { state }),
    });
    await failure(finish(connection, program));
    expect(program.memory.tokens).toBeUndefined();
    program.decision = "allow";
    const again = await connect(sdk, endpoint(sdk, postern), program);
    expect(await again.tools()).toEqual(["whoami"]);
    expect(account(program)).toMatchObject({ logins: 2, registrations: 1 });
  });
}

function expiryOfTokens(sdk: Sdk): void {
  test("an expired access token is refreshed in silence, again and again", async () => {
    const { program, connection } = await logIn(sdk, { accessTokenTtl: SHORT });
    for (let round = 1; round <= 2; round++) {
      const { tokens } = program.memory;
      await expiry();
      expect(await connection.call("whoami")).toMatchObject({ subject: "owner" });
      expect(program.memory.tokens?.access_token).not.toBe(tokens?.access_token);
      expect(program.memory.tokens?.refresh_token).not.toBe(tokens?.refresh_token);
      expect(account(program)).toMatchObject({ logins: 1, registrations: 1, codes: 1 });
    }
    expect(program.requests.filter((line) => / refresh_token [45]/.test(line))).toEqual([]);
  });

  test("an access token that expired while the server was down costs one refresh and no login", async () => {
    const loggedIn = await logIn(sdk, { accessTokenTtl: SHORT });
    const { postern, connection } = loggedIn;
    await connection.close();
    await postern.kill("SIGKILL");
    await expiry();
    // Long-lived from here, so that a slow machine cannot need a second refresh.
    await postern.restart({ settings: { accessTokenTtl: "1h" } });
    const later = startedAgain(loggedIn);
    const fresh = await connect(sdk, endpoint(sdk, postern), later);
    expect(await fresh.call("whoami")).toMatchObject({ subject: "owner" });
    expect(account(later)).toEqual({ logins: 0, registrations: 0, codes: 0, refreshes: 1 });
  });
}

function refreshes(sdk: Sdk): void {
  test("processes that share one stored login refresh at once, and again later", async () => {
    const first = await logIn(sdk);
    const siblings = Array.from({ length: 4 }, () => startedAgain(first));
    for (let round = 1; round <= 3; round++) {
      const answers = await Promise.all(
        siblings.map(async (sibling) => {
          spoil(sibling);
          const connection = await connect(sdk, endpoint(sdk, first.postern), sibling);
          return connection.call("whoami");
        }),
      );
      expect(answers.map(({ subject }) => subject)).toEqual(Array(4).fill("owner"));
    }
    for (const sibling of siblings) {
      expect(account(sibling)).toEqual({ logins: 0, registrations: 0, codes: 0, refreshes: 3 });
    }
  });

  test("killed after each refresh, the server never asks for a login", async () => {
    const loggedIn = await logIn(sdk);
    const { postern } = loggedIn;
    const program = startedAgain(loggedIn);
    for (let round = 1; round <= 3; round++) {
      spoil(program);
      const connection = await connect(sdk, endpoint(sdk, postern), program);
      expect(await connection.call("whoami")).toMatchObject({ subject: "owner" });
      await connection.close();
      await postern.restart({ signal: "SIGKILL" });
    }
    expect(account(program)).toEqual({ logins: 0, registrations: 0, codes: 0, refreshes: 3 });
  });
}

/** What a client asks when it calls a tool after a restart. */
const noticed = (sdk: Sdk): string[] =>
  sdk.lacks?.lastingSession === undefined
    ? ["POST /mcp tools/call 200"]
    : [
        "GET /mcp/sse 200",
        "POST /mcp/messages initialize 202",
        "POST /mcp/messages notifications/initialized 202",
        "POST /mcp/messages tools/call 202",
      ];

function restarts(sdk: Sdk): void {
  test("after kill -9 it calls with the access token it already had, without any browser", async () => {
    const loggedIn = await logIn(sdk);
    const { postern, program } = loggedIn;
    const { tokens } = program.memory;
    const before = program.requests.length;
    const oldPid = postern.pid;
    await postern.restart({ signal: "SIGKILL" });
    expect(postern.pid).not.toBe(oldPid);
    const connection = await resume(sdk, loggedIn);
    expect(await connection.call("whoami")).toMatchObject({ subject: "owner" });
    expect(since(program, before)).toEqual(noticed(sdk));
    expect(program.memory.tokens).toEqual(tokens);

    const later = startedAgain(loggedIn);
    const fresh = await connect(sdk, endpoint(sdk, postern), later);
    const id = program.memory.client?.client_id;
    expect(await fresh.call("whoami")).toMatchObject({ client: { id } });
    expect(account(later)).toEqual({ logins: 0, registrations: 0, codes: 0, refreshes: 0 });
    expect(later.requests.filter((line) => line.endsWith(" 401"))).toEqual([]);
  });

  test("after a clean stop the same", async () => {
    const loggedIn = await logIn(sdk);
    const { postern, program } = loggedIn;
    const before = program.requests.length;
    expect(await postern.kill("SIGTERM")).toBe(0);
    await postern.restart();
    const connection = await resume(sdk, loggedIn);
    expect(await connection.call("whoami")).toMatchObject({ subject: "owner" });
    expect(since(program, before)).toEqual(noticed(sdk));
  });
}

function ends(sdk: Sdk): void {
  test("a revoked login is dead at once; the client asks for a new one under its old name", async () => {
    const { postern, program, connection } = await logIn(sdk);
    const [grant] = JSON.parse((await postern.run("grants", "--json")).stdout);
    expect(await postern.run("grants", "revoke", grant.id)).toMatchObject({ exitCode: 0 });
    const { client } = program.memory;
    expect(await failure(connection.call("whoami"))).toSatisfy(sdk.asksForLogin);
    expect(program.requests.filter((line) => / refresh_token /.test(line))).toEqual([
      "POST /token refresh_token 400",
    ]);
    await finish(connection, program);
    const again = await connect(sdk, endpoint(sdk, postern), program);
    expect(await again.call("whoami")).toMatchObject({ client: { id: client?.client_id } });
    expect(account(program)).toMatchObject({ logins: 2, registrations: 1, codes: 2 });
  });

  const alone = sdk.lacks?.recovery === undefined;
  const how = alone ? "by itself" : `once its person made it forget: ${sdk.lacks.recovery}`;
  test(`a client of a server that lost everything registers and logs in anew ${how}`, async () => {
    const loggedIn = await logIn(sdk);
    const { postern, program } = loggedIn;
    const { client } = program.memory;
    await postern.kill("SIGKILL");
    postern.wipe();
    await postern.restart();
    await postern.browser.setUp(await postern.setupLink());
    const connection = sdk.open(endpoint(sdk, postern), program);
    const error = await failure(connection.connect());
    expect(program.requests).toContain("POST /token refresh_token 401");
    if (alone) {
      expect(error).toSatisfy(sdk.asksForLogin);
      await finish(connection, program);
    } else {
      expect(String(error)).toContain("not sent back: 400");
      expect(String(error)).toContain("so that the client registers anew");
      Object.assign(program.memory, { client: undefined, tokens: undefined });
    }
    const again = await connect(sdk, endpoint(sdk, postern), program);
    expect(await again.call("whoami")).toMatchObject({ subject: "owner" });
    expect(program.memory.client?.client_id).not.toBe(client?.client_id);
    expect(account(program)).toMatchObject({ registrations: 2, codes: 2 });
  });

  test("an old copy of the running folder is restored under a client: it is still logged in", async () => {
    const loggedIn = await logIn(sdk);
    const { postern, program } = loggedIn;
    const copy = `${postern.folder}-copy`;
    copies.push(copy);
    copyFolder(postern.folder, copy);
    for (let round = 1; round <= 2; round++) {
      spoil(program);
      await loggedIn.connection.call("whoami");
    }
    await postern.kill("SIGKILL");
    postern.wipe();
    copyFolder(copy, postern.folder);
    await postern.restart();
    // The copy does not know the present access token, and knows an older refresh token.
    const connection = await resume(sdk, loggedIn);
    expect(await connection.call("whoami")).toMatchObject({ subject: "owner" });
    expect(account(program)).toEqual({ logins: 1, registrations: 1, codes: 1, refreshes: 3 });
  });
}

const copies: string[] = [];

/** As the README tells people to do it. */
function copyFolder(from: string, to: string): void {
  const copied = Bun.spawnSync(["cp", "-a", from, to]);
  if (!copied.success) throw new Error(copied.stderr.toString());
}
