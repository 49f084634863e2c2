// The owner's credentials for the servers behind: headers for an upstream, variables for a command, read from where the
// settings say. Nothing here is ever shown; an error names the place, not the value.
import { readFileSync } from "node:fs";
import type { Config, Environment } from "../config.ts";
import { FatalError, reason } from "../errors.ts";
import type { References } from "../values.ts";

export interface Credentials {
  /** For requests to the upstream. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** For the environment of the command. */
  readonly variables: Readonly<Record<string, string>>;
  /** Values that came from a file or a variable. */
  readonly secrets: readonly string[];
}

/** By the path of the server. */
export type ServerCredentials = ReadonlyMap<string, Credentials>;

/** @throws {FatalError} exit 2: what cannot be read */
export function readCredentials(config: Config, environment: Environment): ServerCredentials {
  return new Map(
    config.servers.map(({ path, headers, env }) => {
      const secrets: string[] = [];
      const read = (references: References, part: string): [string, string][] =>
        Object.entries(references).map(([name, reference]) => {
          const value = valueOf(reference, environment, `${part} ${name} of the server at ${path}`);
          if (value !== reference) secrets.push(value);
          return [name, value];
        });
      const pairs = read(headers, "header");
      const odd = pairs.find(([, value]) => !/^[\t\x20-\x7e\x80-\xff]*$/.test(value));
      if (odd) {
        const message = `the header ${odd[0]} of the server at ${path} has characters that no header can have`;
        throw new FatalError(message, { exitCode: 2 });
      }
      const variables = Object.fromEntries(read(env, "variable"));
      return [path, { headers: pairs, variables, secrets }];
    }),
  );
}

/** Files that the settings of servers name. */
export const credentialFiles = ({ servers }: Config): string[] =>
  servers
    .flatMap(({ headers, env }) => [...Object.values(headers), ...Object.values(env)])
    .filter((reference) => reference.startsWith(FILE))
    .map((reference) => reference.slice(FILE.length));

const FILE = "file:";
const VARIABLE = "env:";

function valueOf(reference: string, environment: Environment, what: string): string {
  const refuse = (why: string, cause?: unknown): never => {
    throw new FatalError(`the ${what}: ${why}`, { exitCode: 2, cause });
  };
  if (reference.startsWith(VARIABLE)) {
    const name = reference.slice(VARIABLE.length);
    return environment[name] ?? refuse(`the variable ${name} is not set`);
  }
  if (!reference.startsWith(FILE)) return reference;
  try {
    // Without the line end that editors leave.
    return readFileSync(reference.slice(FILE.length), "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    return refuse(reason(error), error);
  }
}
