// The bytes of journal and snapshot. The sums were computed apart from the source, with a few lines of Python.
import { afterEach, describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { groupLine, headerLine, readHeader, readJournal } from "../../src/store/journal.ts";
import { emptyTables } from "../../src/store/records.ts";
import { readSnapshot, snapshotText } from "../../src/store/snapshot.ts";
import {
  cleanUp,
  contentOf,
  freshFolder,
  handJournal,
  openFolder,
  small,
  START,
  sumOf,
} from "./folders.ts";

afterEach(cleanUp);

const self = `["folder","self",{"client_id_key":"k","issuer":"https://mcp.example.com"}]`;
const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
const owner = `{"password_hash":"${hash}","epoch":1,"created_at":1795230439,"password_changed_at":1795230439}`;

const journal = `{"journal":1,"schema":1,"base":0,"chain":"0000000000000000","sum":"087f69e684d48fcf"}
{"rev":1,"prev":"0000000000000000","at":1795230439559,"ops":[${self}],"sum":"ceff5ab520c0e7e8"}
{"rev":2,"prev":"ceff5ab520c0e7e8","at":1795230439560,"ops":[["owner","owner",${owner}],["folder","self",null]],"sum":"cd677504439b767a"}
`;

const snapshot = `{"schema":1,"rev":2,"chain":"cd677504439b767a","savedAt":1795230439560,"folder":{"dev":1,"ino":2,"host":"den"},"issuer":"https://mcp.example.com","tables":{
"clients":{
},
"refresh_tokens":{
},
"owner":{
"owner":${owner}
},
"folder":{
"a":{"client_id_key":"k","issuer":"https://mcp.example.com"},
"b\\n\u2028é":{"client_id_key":"日本","issuer":"x"}
},
"api_keys":{
}
},
"sum":"4fc2ec508d96e86c"}
`;

const header = {
  schema: 1,
  rev: 2,
  chain: "cd677504439b767a",
  savedAt: 1795230439560,
  folder: { dev: 1, ino: 2, host: "den" },
  issuer: "https://mcp.example.com",
};

function exampleTables() {
  const tables = emptyTables();
  tables.owner.set("owner", JSON.parse(owner));
  tables.folder.set("a", { client_id_key: "k", issuer: "https://mcp.example.com" });
  tables.folder.set("b\n\u2028é", { client_id_key: "日本", issuer: "x" });
  return tables;
}

describe("journal", () => {
  test("a header and two lines are written to the byte", () => {
    const head = headerLine(0, "0000000000000000");
    const first = { rev: 1, prev: "0000000000000000", at: 1795230439559, changes: [self] };
    const one = groupLine(first, head.sum);
    const changes = [`["owner","owner",${owner}]`, `["folder","self",null]`];
    const two = groupLine({ rev: 2, prev: one.sum, at: 1795230439560, changes }, one.sum);
    expect(head.text + one.text + two.text).toBe(journal);
  });

  test("the same bytes are read", () => {
    const { lines, badBytes, behind } = readJournal(Buffer.from(journal));
    expect({ badBytes, behind }).toEqual({ badBytes: 0, behind: [] });
    expect(lines.map(({ rev, prev, at, sum }) => ({ rev, prev, at, sum }))).toEqual([
      { rev: 1, prev: "0000000000000000", at: 1795230439559, sum: "ceff5ab520c0e7e8" },
      { rev: 2, prev: "ceff5ab520c0e7e8", at: 1795230439560, sum: "cd677504439b767a" },
    ]);
    expect(JSON.parse(lines[1]?.changes() ?? "")).toEqual([
      ["owner", "owner", JSON.parse(owner)],
      ["folder", "self", null],
    ]);
  });

  test("a header is read from the first bytes of a long journal", () => {
    const start = Buffer.from(journal).subarray(0, 120);
    const chain = "0000000000000000";
    expect(readHeader(start)).toEqual({ schema: 1, base: 0, chain, sum: "087f69e684d48fcf" });
    expect(readHeader(start.subarray(0, 80))).toBeUndefined();
  });

  test("a running store writes what a hand writes by the rule", async () => {
    const path = freshFolder();
    const { store } = await openFolder(path);
    await store.folder.put("a", small("one"));
    await store.folder.put("b\u2028é\ud800", small("日本 \u0000\n"));
    await store.folder.delete("a");
    const { name, text } = handJournal(0, "0000000000000000", [
      `["folder","a",{"client_id_key":"one","issuer":"http://localhost:7676"}]`,
      `["folder","b\u2028é\\ud800",{"client_id_key":"日本 \\u0000\\n","issuer":"http://localhost:7676"}]`,
      `["folder","a",null]`,
    ]);
    expect(contentOf(path)).toEqual({ [name]: text });
    expect(statSync(join(path, name)).mode & 0o777).toBe(0o600);
  });
});

describe("snapshot", () => {
  test("tables are written to the byte", () => {
    expect([...snapshotText(header, exampleTables())].join("")).toBe(snapshot);
  });

  test("the same bytes are read", () => {
    const read = readSnapshot(Buffer.from(snapshot));
    expect(read).toEqual({ header, tables: exampleTables(), edited: false });
  });

  test("one from before API keys has none", () => {
    const before = snapshot
      .replace(`},\n"api_keys":{\n}\n`, "}\n")
      .replace(/"sum":".*"/, '"sum":"047198930ebb6bde"');
    const read = readSnapshot(Buffer.from(before));
    expect(read).toEqual({ header, tables: exampleTables(), edited: false });
  });

  test("a large one comes in slices, with the same sum", () => {
    const tables = emptyTables();
    for (let n = 0; n < 5000; n++) tables.folder.set(`r_${n}`, small(`日本 ${n}`));
    const slices = [...snapshotText(header, tables)];
    expect(slices.length).toBeGreaterThan(5);
    const text = slices.join("");
    const body = text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1);
    expect(text.slice(body.length)).toBe(`"sum":"${sumOf(body)}"}\n`);
    expect(readSnapshot(Buffer.from(text)).tables).toEqual(tables);
  });

  test("a running store names its moment, its place and its public URL in the first line", async () => {
    const path = freshFolder();
    const { store, clock } = await openFolder(path);
    await store.folder.put("a", small("one"));
    clock.wait(1000);
    await store.close();
    const { dev, ino } = statSync(path);
    const [first = ""] = readFileSync(join(path, "state.json"), "utf8").split("\n");
    const [change] = handJournal(0, "0000000000000000", [
      `["folder","a",{"client_id_key":"one","issuer":"http://localhost:7676"}]`,
    ]).changes;
    expect(first).toBe(
      `{"schema":1,"rev":1,"chain":"${change?.sum}","savedAt":${START + 1000},` +
        `"folder":{"dev":${dev},"ino":${ino},"host":"${hostname()}"},"issuer":"http://localhost:7676","tables":{`,
    );
    expect(statSync(join(path, "state.json")).mode & 0o777).toBe(0o600);
  });

  test.each([
    ["nothing", ""],
    ["no last line", snapshot.slice(0, -27)],
    ["a sum of other bytes", snapshot.replace("日本", "日体")],
    ["no object", sealed("[]\n")],
    ["no header", sealed(`{"tables":{},\n`)],
    ["a rev that is no integer", sealed(snapshotBody().replace(`"rev":2`, `"rev":2.5`))],
    ["a chain that is none", sealed(snapshotBody().replace("cd677504439b767a", "cd67"))],
    ["a time that is none", sealed(snapshotBody().replace("1795230439560", "1e99"))],
    ["no place", sealed(snapshotBody().replace(`"dev":1,`, ""))],
    ["tables that are a list", sealed(`${snapshotBody().split("\n")[0]?.slice(0, -1)}[],\n`)],
    ["an unknown table", sealed(snapshotBody().replace(`"clients"`, `"wishes"`))],
    ["a record that is a number", sealed(snapshotBody().replace(owner, "1"))],
  ])("with %s is refused", (_, text) => {
    expect(() => readSnapshot(Buffer.from(text))).toThrow();
  });

  test.each(["", "\n", "\r\n", "\n\n"])(
    "an emptied sum is read as edited, with %j behind it",
    (end) => {
      const edited = `${snapshotBody().replace("日本", "edited")}"sum":""}${end}`;
      const { tables, edited: isEdited } = readSnapshot(Buffer.from(edited));
      expect(isEdited).toBe(true);
      expect(tables.folder.get("b\n\u2028é")?.client_id_key).toBe("edited");
    },
  );
});

function snapshotBody(): string {
  return snapshot.slice(0, snapshot.indexOf(`"sum":`));
}

function sealed(body: string): string {
  return `${body}"sum":"${sumOf(body)}"}\n`;
}
