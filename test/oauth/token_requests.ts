// The requests that somebody makes about one login, each with the answers that the table allows it.
import { postToken, redeemCode, refreshWith, registerClient, type Tokens } from "../server.ts";
import {
  type Login,
  type Request,
  type Sent,
  UNAVAILABLE,
  Violation,
  hearRefresh,
} from "./token_login.ts";
import {
  DEAD,
  type Family,
  type Outcome,
  type RefreshRequest,
  refresh,
  revokeAccess,
  use,
} from "./token_table.ts";
import type { World } from "./token_world.ts";

/** What a full disk or a client that is gone makes of the answer of the table. */
function withTrouble(
  world: World,
  { clientId }: Login,
  family: Family,
  table: Outcome,
  refused: readonly Outcome[],
): Outcome[] {
  const outcomes: Outcome[] = [];
  const isOver = world.now >= family.endsAt;
  // Long after its end it may be gone, and nothing is left to write.
  const writes = !isOver && (table.ends === true || table.next !== family);
  if (!writes || !world.diskIsDead) outcomes.push(table);
  if (world.lostClients.has(clientId) && (!family.alive || isOver)) {
    outcomes.push({ answer: "401 invalid_client", next: family });
  }
  return world.diskIsFull ? [...outcomes, ...refused] : outcomes;
}

/** The answer in words; every token that was ever given for a generation must be the same bytes. */
async function read(response: Response, login: Login): Promise<string> {
  if (response.status !== 200) {
    const { error } = (await response.json()) as { error: string };
    if (response.status === 503 && !response.headers.has("retry-after"))
      throw new Violation("503 without Retry-After");
    return `${response.status} ${error}`;
  }
  const tokens = (await response.json()) as Tokens;
  const [refreshed = 0, accessed = 0] = [tokens.refresh_token, tokens.access_token].map((token) =>
    Number(token.split(".")[1]),
  );
  assertSame(login.refreshTokens, refreshed, tokens.refresh_token);
  assertSame(login.accessTokens, `${accessed} ${tokens.scope}`, tokens.access_token);
  return `200 refresh ${refreshed}, access ${accessed} "${tokens.scope}" for ${tokens.expires_in} s`;
}

function assertSame<K>(known: Map<K, string>, key: K, text: string): void {
  if ((known.get(key) ?? text) !== text) throw new Violation(`another text of token ${key}`);
  known.set(key, text);
}

export interface RefreshSent extends RefreshRequest, Sent {
  readonly who: string;
}

export function refreshRequest(world: World, login: Login, sent: RefreshSent): Request {
  const { now } = world;
  const doubted = world.clockIsDoubted;
  const token = login.refreshTokens.get(sent.generation) ?? "";
  const fields = {
    ...(sent.scope !== undefined && { scope: sent.scope }),
    ...(sent.foreignResource && { resource: "https://other.test/mcp" }),
  };
  const extra = [...Object.values(fields), ...(sent.lost ? ["answer lost"] : [])].join(", ");
  return {
    login,
    text: `${login.name}: ${sent.who} at ${sent.address} sends refresh ${sent.generation}${extra && ` (${extra})`}`,
    send: async () => {
      const { server } = world;
      const grant = await server.deps.store.refresh_tokens.get(login.id);
      const response = await refreshWith(server, login.clientId, token, fields, sent.address);
      world.count(sent.generation - (grant?.generation ?? Infinity), response.status);
      return read(response, login);
    },
    outcomes: (family) => {
      const table = refresh(family, sent, now, doubted);
      const held = table.ends ? [{ answer: UNAVAILABLE, next: DEAD }] : [];
      // A disk that refuses others refuses this one before it was looked at.
      const unseen = table.ends && world.isAlone ? [] : [{ answer: UNAVAILABLE, next: family }];
      return withTrouble(world, login, family, table, [...held, ...unseen]);
    },
    heard: (answer, before) => hearRefresh(login, sent, answer, before, now),
  };
}

/** The names of access tokens: generation and scope. */
function readName(name: string): { generation: number; scope: string } {
  const [generation, ...words] = name.split(" ");
  return { generation: Number(generation), scope: words.join(" ") };
}

export function useRequest(world: World, login: Login, who: string, name: string): Request {
  const { now } = world;
  const used = readName(name);
  // It holds at once; over a crash only when the disk has taken it.
  const isForgotten = world.isCrashing || world.diskIsFull;
  return {
    login,
    text: `${login.name}: ${who} uses access ${name}`,
    send: async () => {
      const headers = { authorization: `Bearer ${login.accessTokens.get(name) ?? ""}` };
      const { status } = await world.server.fetch("/mcp", { headers });
      // The built-in server takes no GET: 405 comes from behind the guard.
      return status === 405 ? "good" : String(status);
    },
    outcomes: (family) => {
      const marked = use(family, used, now);
      const unmarked = { ...marked, next: family };
      return world.isCrashing ? [marked, unmarked] : [marked];
    },
    heard: (answer, { ended }) => {
      const { facts } = login;
      if (answer !== "good") return;
      if (ended) throw new Violation(`promise 3: ${login.name} had ended`);
      if (isForgotten || world.isCrashing) return;
      facts.usedUpTo = Math.max(facts.usedUpTo, Math.min(used.generation, facts.newest.generation));
    },
  };
}

function revocation(
  world: World,
  login: Login,
  what: string,
  token: string,
  table: (family: Family) => Outcome,
): Request {
  return {
    login,
    text: `${login.name}: ${what} is revoked`,
    send: async () => {
      const body = new URLSearchParams({ client_id: login.clientId, token });
      const response = await world.server.fetch("/revoke", { method: "POST", body });
      return response.status === 200 ? "200" : await read(response, login);
    },
    outcomes: (family) => {
      const outcome = table(family);
      return withTrouble(world, login, family, outcome, [{ ...outcome, answer: UNAVAILABLE }]);
    },
  };
}

export function accessRevocation(world: World, login: Login, name: string): Request {
  const { now } = world;
  const token = login.accessTokens.get(name) ?? "";
  const used = readName(name);
  return revocation(world, login, `access ${name}`, token, (family) =>
    revokeAccess(family, used, now),
  );
}

const ends = (login: Login, answer: string | undefined, expected: string): void => {
  if (answer === expected) login.facts.ended = true;
};

export function refreshRevocation(world: World, login: Login, generation: number): Request {
  login.facts.ending = true;
  const token = login.refreshTokens.get(generation) ?? "";
  const table = (family: Family): Outcome => ({
    answer: "200",
    next: family.alive ? DEAD : family,
  });
  return {
    ...revocation(world, login, `refresh ${generation}`, token, table),
    heard: (answer) => ends(login, answer, "200"),
  };
}

/** The correct redemption of a code that was redeemed before. */
export function codeAgain(world: World, login: Login): Request {
  const remembered = world.remembersCode(login);
  const answer = "400 invalid_grant";
  if (remembered !== "no") login.facts.ending = true;
  return {
    login,
    text: `${login.name}: its code comes again`,
    send: async () => read(await redeemCode(world.server, login.clientId, login.code.text), login),
    outcomes: (family) => {
      const forgotten = withTrouble(world, login, family, { answer, next: family }, []);
      const ending = { answer, next: family, ends: family.alive };
      const replayed = withTrouble(world, login, family, ending, [
        { answer: UNAVAILABLE, next: DEAD },
      ]);
      if (remembered === "perhaps") return [...forgotten, ...replayed];
      return remembered === "yes" ? replayed : forgotten;
    },
    heard: (heard) => remembered === "yes" && ends(login, heard, answer),
  };
}

export function ownerRevocation(world: World, login: Login): Request {
  login.facts.ending = true;
  return {
    login,
    text: `${login.name}: the owner revokes it`,
    send: () => world.asOwner("DELETE", `/grants/${login.id}`),
    outcomes: (family) => {
      const outcomes: Outcome[] = [];
      if (family.alive && !world.diskIsDead) outcomes.push({ answer: "200", next: DEAD });
      if (family.alive && world.diskIsFull) outcomes.push({ answer: "503", next: DEAD });
      // Long after its end it may be gone.
      if (!family.alive || world.now >= family.endsAt) outcomes.push({ answer: "404", next: DEAD });
      return outcomes;
    },
    heard: (answer) => ends(login, answer, "200"),
  };
}

/** Several logins at once: password change, revoke-all, the end of a client. */
export function endOf(
  world: World,
  what: string,
  logins: readonly Login[],
  send: () => Promise<string>,
): Request[] {
  let answer: Promise<string> | undefined;
  return logins.map((login) => {
    login.facts.ending = true;
    return {
      login,
      text: `${login.name}: ${what}`,
      send: () => (answer ??= send()),
      outcomes: () => [
        { answer: "200", next: DEAD },
        ...(world.diskIsFull ? [{ answer: "503", next: DEAD }] : []),
      ],
      heard: (heard) => ends(login, heard, "200"),
    };
  });
}

export const mistakes = ["guessed generation", "guessed secret", "another client"] as const;

/** A refresh token that is not good as it is presented: nothing may change. */
export async function wrongToken(
  world: World,
  login: Login,
  mistake: (typeof mistakes)[number],
  address: string,
): Promise<Request> {
  const { held } = login.holder;
  const known = login.refreshTokens.get(held) ?? "";
  const [family = "", , secret = "", tag = ""] = known.slice(4).split(".");
  const token = {
    "guessed generation": `prt_${family}.${held + 1}.${secret}.${tag}`,
    "guessed secret": `prt_${family}.${held}.${"A".repeat(43)}.${tag}`,
    "another client": known,
  }[mistake];
  const clientId =
    mistake === "another client" ? (await registerClient(world.server)).client_id : login.clientId;
  return {
    login,
    text: `${login.name}: refresh ${held}, ${mistake}`,
    send: async () => {
      const fields = { grant_type: "refresh_token", client_id: clientId, refresh_token: token };
      return read(await postToken(world.server, fields, address), login);
    },
    outcomes: (state) =>
      withTrouble(world, login, state, { answer: "400 invalid_grant", next: state }, [
        { answer: UNAVAILABLE, next: state },
      ]),
  };
}
