// Meets dns-01 challenges (RFC 8555 §8.4) with a program of the owner's: it puts a TXT record into the zone and takes it
// away again. How a zone is changed differs with every provider.
import type { Prover } from "./acme.ts";

/** Milliseconds that the program has; it comes back when the record can be seen. */
const PATIENCE = 600_000;
const SAID = 300;

/** @param program called with add or remove, the record's name, its text */
export function dnsProver(program: string, host: string, stop: AbortSignal): Prover {
  const name = `_acme-challenge.${host}`;
  return {
    type: "dns-01",
    put: async (_token, value) => {
      await run([program, "add", name, value], stop);
      // What cannot be taken away does no harm: the CA looks at it this once.
      return () => run([program, "remove", name, value], stop).catch(() => undefined);
    },
  };
}

async function run(command: string[], stop: AbortSignal): Promise<void> {
  const child = Bun.spawn(command, {
    env: foreignEnvironment(),
    stdio: ["ignore", "ignore", "pipe"],
    signal: AbortSignal.any([stop, AbortSignal.timeout(PATIENCE)]),
  });
  const [exitCode, said] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  if (exitCode === 0) return;
  throw new Error(
    `${command[0]} ${command[1]} ended with ${exitCode}: ${said.trim().slice(0, SAID)}`,
  );
}

/** What the program needs of ours, such as the key of a provider, and nothing that is for us alone. */
const foreignEnvironment = (): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("POSTERN_")));
