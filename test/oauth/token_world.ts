// One Postern with everything that happens to it, beside the token table that says what may: clients and their processes,
// thieves, lost answers, restarts, crashes, old copies, a disk that is full for a while.
import { cpSync, rmSync } from "node:fs";
import { ADMIN_PATH, admin } from "../../src/admin.ts";
import { changePassword } from "../../src/admin/owner.ts";
import { OAuthError } from "../../src/errors.ts";
import {
  Browser,
  type Clock,
  PASSWORD,
  type TestServer,
  type Tokens,
  obtainCode,
  redeemCode,
  registerClient,
  startServer,
  testClock,
} from "../server.ts";
import { canFillDisk, limitFiles, memoryFolder } from "./token_disk.ts";
import { type Facts, type Login, type Request, Violation, newLogin } from "./token_login.ts";
import { type Call, DEAD, type Family, SCOPES, explain, union } from "./token_table.ts";

interface Backup {
  readonly folder: string;
  readonly logins: Map<Login, { disk: readonly Family[]; facts: Facts }>;
}

export class World {
  readonly clock: Clock;
  readonly logins: Login[];
  readonly backups: Backup[] = [];
  readonly trace: string[];
  /** How often each row of the table was answered how. */
  readonly tally: Map<string, number>;
  #server: TestServer | undefined;
  #browser: Browser | undefined;
  #process = "";
  /** The latest that the clock ever showed. */
  #latest = 0;
  diskIsFull = false;
  /** Not even a byte has room. */
  diskIsDead = false;
  /** What is written in the background may be lost. */
  isCrashing = false;
  /** Clients that the folder may have forgotten. */
  readonly lostClients: Set<string>;
  /** Since the disk was full nothing was written for certain. */
  isUnsettled = false;
  /** A revocation holds in memory and waits for the disk. */
  #owes = false;
  #room = 0;
  /** Nothing but the request at hand could be refused by the disk. */
  isAlone = true;

  /** @param from the world that this one begins as, with a clock and with logins of its own */
  constructor(tally = new Map<string, number>(), from?: World) {
    this.tally = tally;
    this.clock = testClock(from?.clock.at);
    this.logins = (from?.logins ?? []).map((login) => structuredClone(login));
    this.lostClients = new Set(from?.lostClients);
    this.trace = from?.trace ?? [];
    this.#latest = from?.now ?? 0;
  }

  get server(): TestServer {
    if (!this.#server) throw new Error("not open");
    return this.#server;
  }

  /** Epoch seconds, as the server has them: after a clock that went back it goes on from what the folder knows. */
  get now(): number {
    return Math.floor((this.#server?.deps.now() ?? this.clock.at) / 1000);
  }

  /** After a copy of long ago was restored nobody can tell the time. */
  get clockIsDoubted(): boolean {
    return this.server.deps.store.clockMayBeAhead();
  }

  /** @param ahead generations that the presented refresh token was ahead of the folder */
  count(ahead: number, status: number): void {
    const row =
      ahead > 0 ? "ahead" : ahead === 0 ? "current" : ahead === -1 ? "one behind" : "behind";
    const key = `${row}: ${status}`;
    this.tally.set(key, (this.tally.get(key) ?? 0) + 1);
  }

  note(text: string): void {
    this.trace.push(text);
  }

  async open(folder = memoryFolder()): Promise<void> {
    this.#server = await startServer({ folder, clock: this.clock, settings: { scopes: SCOPES } });
    this.#browser = undefined;
    this.#process = crypto.randomUUID();
    this.#owes = false;
    const kept = new Set(
      this.logins.flatMap(({ clientId, disk, endsAt }) =>
        disk.every(({ alive }) => alive) && this.now < endsAt ? [clientId] : [],
      ),
    );
    for (const { clientId } of this.logins) if (!kept.has(clientId)) this.lostClients.add(clientId);
  }

  async close(): Promise<void> {
    this.heal();
    await this.#discard();
    for (const { folder } of this.backups.splice(0)) rmSync(folder, { recursive: true });
  }

  async #discard(server = this.#server): Promise<void> {
    if (!server) return;
    await server.close();
    rmSync(server.folder, { recursive: true, force: true });
  }

  async logIn(known: Login | undefined): Promise<void> {
    this.heal();
    const { server } = this;
    const clientId = known?.clientId ?? (await registerClient(server)).client_id;
    this.#browser ??= new Browser(server);
    const code = await obtainCode(server, clientId, {}, this.#browser);
    const response = await redeemCode(server, clientId, code);
    if (response.status !== 200) throw new Violation(`a login got ${response.status}`);
    const tokens = (await response.json()) as Tokens;
    const name = `login ${this.logins.length + 1}`;
    this.note(`${name} of ${known ? `the client of ${known.name}` : "a new client"}`);
    const { now } = this;
    const issued = { text: code, process: this.#process, until: now + 600 };
    this.logins.push(newLogin(name, clientId, issued, tokens, now));
    this.#written();
  }

  /** Whether the process remembers the code of a login; after the clock went back that is not known from outside. */
  remembersCode({ code }: Login): "yes" | "perhaps" | "no" {
    if (code.process !== this.#process || this.now >= code.until) return "no";
    return this.#latest < code.until ? "yes" : "perhaps";
  }

  passTime(seconds: number): void {
    this.clock.advance(seconds);
    this.#latest = Math.max(this.#latest, this.now);
    this.note(`${seconds} seconds pass`);
  }

  /** Sends requests at once and holds their answers against the table. */
  async run(requests: readonly Request[]): Promise<void> {
    const before = knownOf(requests);
    this.isAlone = requests.length === 1 && !this.#owes;
    const answers = await Promise.all(requests.map((request) => request.send()));
    const refused = answers.filter((answer) => answer.startsWith("503"));
    if (refused.length > 0 && !this.diskIsFull && !this.clockIsDoubted)
      throw new Violation("503 on a healthy disk");
    if (refused.length > 0 && this.diskIsFull) this.#owes = true;
    requests.forEach(({ text }, index) => this.note(`${text}: ${answers[index]}`));
    await this.#settleUses();
    for (const login of new Set(requests.map((request) => request.login))) {
      const calls = requests.flatMap((request, index): Call[] =>
        request.login === login
          ? [{ outcomes: request.outcomes, answer: answers[index], optional: false }]
          : [],
      );
      const states = login.memory;
      login.memory = this.#explained(login, calls);
      const kept = new Set(states.map((family) => JSON.stringify(family)));
      const wrote = login.memory.every((family) => !kept.has(JSON.stringify(family)));
      if (this.diskIsFull) {
        login.disk = union(login.disk, union(login.memory, attempted(states, calls)));
      } else if (this.isUnsettled && !wrote) {
        login.disk = union(login.disk, login.memory);
      } else {
        login.disk = login.memory;
        if (wrote) this.#written();
      }
    }
    requests.forEach((request, index) =>
      request.heard?.(answers[index], before[index] ?? request.login.facts),
    );
  }

  #explained(login: Login, calls: readonly Call[]): Family[] {
    const after = explain(login.memory, calls);
    if (after.length > 0) return after;
    const expected = login.memory.map((family) =>
      calls.map(({ outcomes }) => outcomes(family).map(({ answer }) => answer)),
    );
    throw new Violation(
      `${login.name}: no order of the table's rules gives these answers.\n` +
        `  it may have been ${JSON.stringify(login.memory)}\n  expected ${JSON.stringify(expected)}`,
    );
  }

  /** The first use of a generation is marked in the background; this is when it holds. */
  async #settleUses(): Promise<void> {
    const { store } = this.server.deps;
    await store.update((draft) => draft.get("owner", "owner"));
  }

  #written(): void {
    this.isUnsettled = this.#owes = false;
    for (const login of this.logins) {
      login.disk = login.memory;
      if (login.memory.every(({ alive }) => !alive)) login.facts.ended = true;
    }
  }

  async restart(): Promise<void> {
    this.note("clean restart");
    const { folder } = this.server;
    await this.server.close();
    await this.open(folder);
    this.#written();
  }

  /**
   * The process is gone, with requests under way or without; what it answered is in the folder.
   * @param turns of the event loop that the requests had; undefined: until the first was answered, and no longer
   */
  async crash(requests: readonly Request[], turns?: number): Promise<void> {
    const before = knownOf(requests);
    const answers: (string | undefined)[] = requests.map(() => undefined);
    const sent = requests.map(async (request, index) => {
      answers[index] = await request.send();
    });
    if (turns === undefined) await Promise.race(sent);
    for (let turn = 0; turn < (turns ?? 0); turn++) {
      await (turn % 3 === 0 ? new Promise((resolve) => setImmediate(resolve)) : Promise.resolve());
    }
    const old = this.server;
    const copy = this.#copy();
    const heard = [...answers];
    await Promise.all(sent);
    requests.forEach(({ text }, index) => this.note(`${text}: ${heard[index] ?? "(no answer)"}`));
    this.note("crash");
    this.isCrashing = true;
    await this.open(copy);
    this.heal();
    await this.#discard(old);
    for (const login of this.logins) {
      const calls = requests.flatMap((request, index): Call[] => {
        if (request.login !== login) return [];
        const answer = heard[index];
        return [{ outcomes: request.outcomes, answer, optional: answer === undefined }];
      });
      if (calls.length > 0) login.disk = this.#explained({ ...login, memory: login.disk }, calls);
      login.memory = login.disk;
    }
    this.isUnsettled = false;
    this.isCrashing = false;
    requests.forEach((request, index) =>
      request.heard?.(heard[index], before[index] ?? request.login.facts),
    );
  }

  #copy(): string {
    const folder = memoryFolder();
    const isFull = this.diskIsFull;
    if (isFull) limitFiles("unlimited");
    cpSync(this.server.folder, folder, { recursive: true });
    if (isFull) limitFiles(this.#room);
    return folder;
  }

  /** Opens a copy of the folder beside this one, and forgets what happened to it. */
  async apart(happens: (copy: World) => Promise<void>): Promise<void> {
    const copy = new World(this.tally, this);
    const known = this.trace.length;
    this.note("in a copy of the folder, apart:");
    await copy.open(this.#copy());
    try {
      await happens(copy);
      this.trace.length = known;
    } finally {
      await copy.close();
    }
  }

  backUp(): void {
    this.note(`copy ${this.backups.length + 1} of the folder`);
    const logins = this.logins.map(
      (login) => [login, { disk: login.disk, facts: structuredClone(login.facts) }] as const,
    );
    this.backups.push({ folder: this.#copy(), logins: new Map(logins) });
  }

  async restore(backup: Backup): Promise<void> {
    this.note(`copy ${this.backups.indexOf(backup) + 1} is restored`);
    this.heal();
    await this.#discard();
    const folder = memoryFolder();
    cpSync(backup.folder, folder, { recursive: true });
    await this.open(folder);
    this.isUnsettled = false;
    for (const login of this.logins) {
      const then = backup.logins.get(login);
      login.memory = login.disk = then?.disk ?? [DEAD];
      if (!then) this.lostClients.add(login.clientId);
      login.facts = structuredClone(then?.facts ?? { ...login.facts, ending: true, ended: true });
    }
  }

  /** @param room bytes that the largest file may still grow to */
  fillDisk(room: number): void {
    if (this.diskIsFull || !canFillDisk) return;
    this.note("the disk is full");
    limitFiles(room);
    this.#room = room;
    this.diskIsDead = room === 0;
    this.diskIsFull = this.isUnsettled = true;
  }

  heal(): void {
    if (!this.diskIsFull) return;
    limitFiles("unlimited");
    this.note("the disk has space again");
    this.diskIsFull = this.diskIsDead = false;
  }

  async asOwner(method: "DELETE" | "POST", path: string): Promise<string> {
    const url = `http://postern${ADMIN_PATH}${path}`;
    return String((await admin(new globalThis.Request(url, { method }), this.server.deps)).status);
  }

  async changePassword(): Promise<string> {
    this.#browser = undefined;
    try {
      await changePassword(PASSWORD, this.server.deps);
      return "200";
    } catch (error) {
      if (error instanceof OAuthError) return String(error.status);
      throw error;
    }
  }
}

const knownOf = (requests: readonly Request[]): Facts[] =>
  requests.map(({ login }) => structuredClone(login.facts));

/** What a change that was refused may have left on the disk all the same. */
function attempted(before: readonly Family[], calls: readonly Call[]): Family[] {
  return explain(
    before,
    calls.map((call) => ({ ...call, answer: undefined, optional: true })),
  );
}
