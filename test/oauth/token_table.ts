// The token table of the design as a function: which answers a family of tokens may give, and what it is afterwards. Written
// from the document, not from src/oauth; a set of states stands for what cannot be known from outside.

export interface Access {
  readonly generation: number;
  readonly scope: string;
  readonly endsAt: number;
}

/** One login. Times are epoch seconds. */
export interface Family {
  readonly alive: boolean;
  readonly generation: number;
  readonly used: number;
  readonly rotatedAt: number;
  readonly rotatedFrom: string;
  /** Oldest first. */
  readonly access: readonly Access[];
  /** Access tokens up to this generation were revoked. */
  readonly revoked: number;
  /** The lowest generation whose holder was given the present one. */
  readonly follows: number;
  readonly lastUsedAt: number;
  readonly endsAt: number;
}

/** An answer and what the family is after it. */
export interface Outcome {
  readonly answer: string;
  readonly next: Family;
  /** The family is ended before the answer, but others may be answered in between. */
  readonly ends?: boolean;
}

/** The moments at which something about the family changes, epoch seconds. */
export const turningPoints = (family: Family): number[] => [
  family.rotatedAt + GRACE,
  family.rotatedAt + SIBLING_GRACE,
  ...family.access.map(({ endsAt }) => endsAt),
  family.lastUsedAt + IDLE_TTL,
  family.endsAt,
];

const ACCESS_TTL = 3600;
const IDLE_TTL = 90 * 86_400;
const ABSOLUTE_TTL = 365 * 86_400;
const GRACE = 120;
const SIBLING_GRACE = 3600;
const LIVE_ACCESS = 8;
export const SCOPES = "read write";

export const DEAD: Family = {
  alive: false,
  generation: 0,
  used: 0,
  rotatedAt: 0,
  rotatedFrom: "",
  access: [],
  revoked: 0,
  follows: 0,
  lastUsedAt: 0,
  endsAt: 0,
};

/** The /24 of an IPv4 address. */
export const network = (address: string): string => address.slice(0, address.lastIndexOf("."));

/** A family as a redeemed code makes it. */
export function born(now: number, address: string): Family {
  return {
    ...DEAD,
    alive: true,
    generation: 1,
    rotatedAt: now,
    rotatedFrom: network(address),
    access: [{ generation: 1, scope: SCOPES, endsAt: now + ACCESS_TTL }],
    lastUsedAt: now,
    endsAt: now + ABSOLUTE_TTL,
  };
}

export interface RefreshRequest {
  readonly generation: number;
  readonly address: string;
  /** All when absent. */
  readonly scope?: string;
  readonly foreignResource?: boolean;
}

type Row = "normal" | "again" | "forward" | "superseded";

function rowOf(family: Family, asked: RefreshRequest, now: number): Row {
  const { generation: g } = family;
  const { generation: p } = asked;
  if (p > g) return "forward";
  if (p === g) return "normal";
  const age = Math.abs(now - family.rotatedAt);
  const isSibling = age <= SIBLING_GRACE && network(asked.address) === family.rotatedFrom;
  const again = age <= GRACE || family.used < g || isSibling;
  return p >= family.follows && again ? "again" : "superseded";
}

/** @param doubted the clock may be years ahead: what time alone would refuse waits */
export function refresh(
  family: Family,
  asked: RefreshRequest,
  now: number,
  doubted: boolean,
): Outcome {
  const unchanged = (answer: string): Outcome => ({ answer, next: family });
  const over = now >= family.endsAt;
  if (!family.alive || (over && !doubted)) return unchanged("400 invalid_grant");
  const row = rowOf(family, asked, now);
  const idle = now >= family.lastUsedAt + IDLE_TTL && row !== "forward";
  const late = row === "superseded" && asked.generation >= family.follows;
  if (doubted && (late || ((over || idle) && row !== "superseded")))
    return unchanged("503 temporarily_unavailable");
  if (row === "superseded") return { answer: "400 invalid_grant", next: family, ends: true };
  if (idle) return unchanged("400 invalid_grant");
  if (asked.foreignResource) return unchanged("400 invalid_target");
  const scope = asked.scope ?? SCOPES;
  if (!scope.split(" ").every((word) => SCOPES.split(" ").includes(word))) {
    return unchanged("400 invalid_scope");
  }
  const isRevoked = family.revoked >= family.generation;
  return row === "again" && !isRevoked
    ? answerAgain(family, scope, now)
    : rotate(family, row, { ...asked, scope }, now);
}

const answer = (generation: number, access: Access, now: number): string =>
  `200 refresh ${generation}, access ${access.generation} "${access.scope}" for ${access.endsAt - now} s`;

/** None of a family that was used in the future. */
const liveOf = ({ access, lastUsedAt }: Family, now: number): Access[] =>
  access.filter(({ endsAt }) => endsAt > now && lastUsedAt <= now + ACCESS_TTL);

function withAccess(family: Family, added: Access, now: number): Access[] {
  const isOther = (entry: Access): boolean =>
    entry.generation !== added.generation || entry.scope !== added.scope;
  return [...liveOf(family, now).filter(isOther), added].slice(-LIVE_ACCESS);
}

function answerAgain(family: Family, scope: string, now: number): Outcome {
  const { generation } = family;
  const known = liveOf(family, now).find(
    (entry) => entry.generation === generation && entry.scope === scope,
  );
  if (known) return { answer: answer(generation, known, now), next: family };
  const renewed = { generation, scope, endsAt: Math.min(now + ACCESS_TTL, family.endsAt) };
  const access = withAccess(family, renewed, now);
  return {
    answer: answer(generation, renewed, now),
    next: { ...family, access, lastUsedAt: now },
  };
}

function rotate(
  family: Family,
  row: Row,
  asked: RefreshRequest & { scope: string },
  now: number,
): Outcome {
  const from = row === "forward" ? asked.generation : family.generation;
  const generation = from + 1;
  const endsAt = Math.min(now + ACCESS_TTL, family.endsAt);
  const access = { generation, scope: asked.scope, endsAt };
  return {
    answer: answer(generation, access, now),
    next: {
      ...family,
      generation,
      used: from,
      follows: row === "again" ? family.follows : from,
      rotatedAt: now,
      rotatedFrom: network(asked.address),
      lastUsedAt: now,
      access: withAccess(family, access, now),
    },
  };
}

function isLive(family: Family, token: Omit<Access, "endsAt">, now: number): boolean {
  return (
    family.alive &&
    now < family.endsAt &&
    liveOf(family, now).some(
      ({ generation, scope }) => generation === token.generation && scope === token.scope,
    )
  );
}

/** A call at the MCP endpoint with an access token. */
export function use(family: Family, token: Omit<Access, "endsAt">, now: number): Outcome {
  if (!isLive(family, token, now)) return { answer: "401", next: family };
  if (token.generation <= family.used) return { answer: "good", next: family };
  const lastUsedAt = Math.max(family.lastUsedAt, now);
  return { answer: "good", next: { ...family, used: token.generation, lastUsedAt } };
}

/** RFC 7009 with an access token. */
export function revokeAccess(family: Family, token: Omit<Access, "endsAt">, now: number): Outcome {
  if (!isLive(family, token, now)) return { answer: "200", next: family };
  return {
    answer: "200",
    next: {
      ...family,
      access: family.access.filter(({ generation }) => generation > token.generation),
      revoked: Math.max(family.revoked, token.generation),
    },
  };
}

/** One of several requests under way at once. */
export interface Call {
  readonly outcomes: (family: Family) => readonly Outcome[];
  /** What came back; undefined when the server was gone before. */
  readonly answer: string | undefined;
  /** It may have had no effect at all. */
  readonly optional: boolean;
}

/** Every state that some order of the calls leads to with exactly these answers. */
export function explain(states: readonly Family[], calls: readonly Call[]): Family[] {
  const ends = new Map<string, Family>();
  const seen = new Set<string>();
  const all = 2 ** calls.length - 1;
  const visit = (family: Family, done: number, ending: boolean): void => {
    const key = JSON.stringify([done, ending, family]);
    if (seen.has(key)) return;
    seen.add(key);
    if (ending) visit(DEAD, done, false);
    else if (done === all) ends.set(JSON.stringify(family), family);
    calls.forEach((call, index) => {
      if (done & (1 << index)) return;
      const then = done | (1 << index);
      if (call.optional) visit(family, then, ending);
      for (const outcome of call.outcomes(family)) {
        if (call.answer !== undefined && call.answer !== outcome.answer) continue;
        // Cut off by a crash, a call may have come half way.
        if (call.optional && outcome.ends) visit(outcome.next, then, ending);
        visit(outcome.next, then, ending || outcome.ends === true);
      }
    });
  };
  for (const family of states) visit(family, 0, false);
  return [...ends.values()];
}

/** The states of both, each once. */
export function union(first: readonly Family[], second: readonly Family[]): Family[] {
  return [
    ...new Map([...first, ...second].map((state) => [JSON.stringify(state), state])).values(),
  ];
}
