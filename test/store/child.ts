// A process of its own around a store, for tests that kill it. Arguments: what to do, the folder. Speaks in lines.
import { writeSync } from "node:fs";
import { FatalError, reason } from "../../src/errors.ts";
import { openStore } from "../../src/store/folder.ts";
import { small } from "./folders.ts";

const [what = "", path = ""] = process.argv.slice(2);
// Straight to the descriptor: a line is out before the next step, kill or not.
const say = (line: string): void => void writeSync(1, `${line}\n`);

const open = () =>
  openStore({
    path,
    issuer: "http://localhost:7676",
    now: () => Date.now(),
    monotonic: () => performance.now(),
    notice: ({ kind, message }) => say(`notice ${kind}: ${message}`),
    fatal: (error) => process.exit(error.exitCode),
    lockWait: 300,
    journalLimit: 20_000,
    spareSpace: 0,
  });

try {
  const store = await open();
  say("open");
  if (what === "hold") setInterval(() => undefined, 1000);
  if (what === "exit") process.exit(0);
  if (what === "throw") setTimeout(() => throwNow(), 1);
  if (what === "reject") void Promise.reject(new Error("nobody handles this"));
  if (what === "spawn") {
    const child = Bun.spawn(["sleep", "60"]);
    say(`child ${child.pid}`);
    setInterval(() => undefined, 1000);
  }
  if (what === "revoke") {
    await store.update((draft) => {
      for (const id of ["goes", "stays"]) draft.put("folder", id, small("1"));
    });
    await store.compact();
    await store
      .revoke((draft) => draft.delete("folder", "goes"))
      .catch((error: unknown) => say(`refused ${reason(error)}`));
    await store.close();
    process.exit(0);
  }
  if (what === "save") {
    // Several writers, each with its own record that counts up; each answer is said.
    const writer = async (id: string): Promise<void> => {
      for (let count = Number((await store.folder.get(id))?.client_id_key ?? 0) + 1; ; count++) {
        await store.folder.put(id, small(String(count)));
        say(`${id} ${count}`);
      }
    };
    await Promise.all(["a", "b", "c", "d"].map(writer));
  }
} catch (error) {
  if (!(error instanceof FatalError)) throw error;
  say(`fatal ${error.exitCode}: ${reason(error)}`);
  process.exit(error.exitCode);
}

function throwNow(): never {
  throw new Error("nobody catches this");
}
