// What can still be read of a snapshot that is damaged: its header, and record by record what has the shape of one. Nothing
// here is proven by a checksum.
import { type TableMaps, type TableName, type Tables, tableNames } from "./records.ts";
import { type SnapshotHeader, snapshotShape } from "./snapshot.ts";

export interface Fragment {
  readonly table: TableName;
  readonly id: string;
  readonly record: object;
}

export interface Fragments {
  readonly header: SnapshotHeader | undefined;
  readonly records: readonly Fragment[];
  /** Tables of which every line can be read. */
  readonly whole: readonly TableName[];
  readonly unreadable: readonly UnreadableLine[];
}

export interface UnreadableLine {
  /** From 1. */
  readonly line: number;
  /** The table that it stands in; undefined: in none, or nothing tells. */
  readonly table: TableName | undefined;
}

type Kind = "text" | "hash" | "count" | "list";

/** The members that every record of a table has. */
const shapes: { readonly [N in TableName]: Partial<Record<keyof Tables[N], Kind>> } = {
  clients: {
    redirect_uris: "list",
    grant_types: "list",
    response_types: "list",
    token_endpoint_auth_method: "text",
    scope: "text",
    client_id_issued_at: "count",
    source: "text",
  },
  refresh_tokens: {
    client_id: "text",
    subject: "text",
    scope: "text",
    resource: "text",
    secret_hash: "hash",
    tag_key: "hash",
    generation: "count",
    used_generation: "count",
    rotated_at: "count",
    rotated_from: "text",
    access: "list",
    created_at: "count",
    last_used_at: "count",
    expires_at: "count",
  },
  owner: {
    password_hash: "text",
    epoch: "count",
    created_at: "count",
    password_changed_at: "count",
  },
  folder: { client_id_key: "text", issuer: "text" },
  api_keys: {
    name: "text",
    secret_hash: "hash",
    servers: "list",
    scope: "text",
    created_at: "count",
  },
};

const fits: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  text: (value) => typeof value === "string",
  hash: (value) => typeof value === "string" && /^[\w-]{43}$/.test(value),
  count: (value) => Number.isSafeInteger(value) && Number(value) >= 0,
  list: (value) => Array.isArray(value),
};

/** The table whose records look like this one; no two tables' do. */
function tableOf(record: object): TableName | undefined {
  const members = new Map<string, unknown>(Object.entries(record));
  return tableNames.find((name) =>
    Object.entries<Kind>(shapes[name]).every(([member, kind]) => fits[kind](members.get(member))),
  );
}

/** A record that does not look like one of its table; undefined: all do. */
export function findOddRecord(tables: TableMaps): { table: TableName; id: string } | undefined {
  for (const table of tableNames) {
    for (const [id, record] of tables[table]) if (tableOf(record) !== table) return { table, id };
  }
  return undefined;
}

/** Reads whatever lines of a damaged snapshot can be read. */
export function readFragments(bytes: Buffer): Fragments {
  const text = bytes.toString("utf8").replace(/^\ufeff/, "");
  const [first = "", ...lines] = text.split(/\r?\n/);
  const state: Lines = { records: [], unreadable: [], whole: new Set(), table: undefined };
  for (const [index, line] of lines.entries()) readLine(state, line, index + 2);
  const header = shapeOf(() => snapshotShape(JSON.parse(`${first}}}`)));
  const { records, unreadable, whole } = state;
  if (records.length === 0) return reformatted(text) ?? { header, records, whole: [], unreadable };
  return { header, records, whole: [...whole], unreadable };
}

interface Lines {
  readonly records: Fragment[];
  readonly unreadable: UnreadableLine[];
  readonly whole: Set<TableName>;
  /** The table that the lines are in. */
  table: TableName | undefined;
}

function readLine(state: Lines, line: string, number: number): void {
  const opened = /^"(\w+)":\{$/.exec(line)?.[1];
  const table = tableNames.find((name) => name === opened);
  if (table) {
    state.table = table;
    return;
  }
  if (/^\},?$/.test(line)) {
    const { table: ended, unreadable } = state;
    if (ended && !unreadable.some((each) => each.table === ended)) state.whole.add(ended);
    state.table = undefined;
    return;
  }
  if (line === "" || /^"sum":"[0-9a-f]*"\}\s*$/.test(line)) return;
  const fragment = parseRecord(line);
  if (fragment) state.records.push(fragment);
  else state.unreadable.push({ line: number, table: state.table });
}

function parseRecord(line: string): Fragment | undefined {
  const pairs = shapeOf(() => Object.entries<unknown>(JSON.parse(`{${line.replace(/,$/, "")}}`)));
  const [id = "", record] = pairs?.[0] ?? [];
  if (pairs?.length !== 1 || typeof record !== "object" || record === null) return undefined;
  const table = tableOf(record);
  return table && { table, id, record };
}

/** The same JSON in other lines: an editor or a formatter went over it. */
function reformatted(text: string): Fragments | undefined {
  const shape = shapeOf(() => snapshotShape(JSON.parse(text)));
  if (!shape) return undefined;
  const { tables, ...header } = shape;
  const all = tableNames.flatMap((table) =>
    [...tables[table]].map(([id, record]): Fragment => ({ table, id, record })),
  );
  const isWhole = ({ table, record }: Fragment): boolean => tableOf(record) === table;
  const records = all.filter(isWhole);
  const unreadable = all
    .filter((each) => !isWhole(each))
    .map(({ table, id }): UnreadableLine => ({ line: lineOf(text, JSON.stringify(id)), table }));
  const whole = tableNames.filter((name) => !unreadable.some(({ table }) => table === name));
  return { header, records, whole, unreadable };
}

const lineOf = (text: string, part: string): number =>
  text.slice(0, text.indexOf(part)).split("\n").length;

function shapeOf<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
