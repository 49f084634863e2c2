// What the running server says of itself: its addresses, for whoever has to paste one.
import type { Deps } from "../deps.ts";
import type { Asked } from "./asked.ts";
import { version } from "../../package.json";

export interface ServerRow {
  readonly version: string;
  readonly issuer: string;
  readonly servers: readonly {
    readonly name: string;
    /** The URL that people paste. */
    readonly resource: string;
    readonly scopes: readonly string[];
  }[];
}

export async function showServer(_asked: Asked, { config }: Deps): Promise<ServerRow> {
  return {
    version,
    issuer: config.issuer,
    servers: config.servers.map(({ name, resource, scopes }) => ({ name, resource, scopes })),
  };
}
