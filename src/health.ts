// Whether the server lives, and whether it can save: /healthz and /readyz, for who restarts it or sends it requests. Both
// are open to anybody and tell nothing else.
import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import type { Deps } from "./deps.ts";
import { ensureFolder } from "./oauth/clients.ts";
import type { OpenStore } from "./store/folder.ts";

/** Bytes that must be free: the longest record and what comes with it. */
const ROOM = 128 * 1024;
/** Milliseconds between two attempts to write. */
const PAUSE = 1_000;

export function healthz(): Response {
  return Response.json({ status: "ok" }, { headers: { "cache-control": "no-store" } });
}

export async function readyz(_request: Request, { isReady }: Deps): Promise<Response> {
  const ready = await isReady();
  return Response.json(
    { status: ready ? "ready" : "cannot save" },
    {
      status: ready ? 200 : 503,
      headers: { "cache-control": "no-store", ...(!ready && { "retry-after": "5" }) },
    },
  );
}

export interface ReadinessOptions {
  readonly store: OpenStore;
  /** The data folder. */
  readonly path: string;
  readonly issuer: string;
  /** Milliseconds that no clock change moves. */
  readonly monotonic: () => number;
}

/**
 * Whether a change could be saved now. Writes only when the last change could not be saved, and then at most once a
 * second: whoever asks must not wear out the disk, and a server to which nothing is sent must find out by itself.
 */
export function readiness(options: ReadinessOptions): () => Promise<boolean> {
  const { store, path, issuer, monotonic } = options;
  let attempt: Promise<boolean> | undefined;
  let attemptedAt = -Infinity;
  const write = async (): Promise<boolean> => {
    try {
      await store.update((draft) =>
        draft.put("folder", "self", { ...ensureFolder(draft, issuer) }),
      );
      return true;
    } catch {
      return false;
    }
  };
  return async () => {
    if (store.counters.failuresInRow === 0) return hasRoom(path);
    if (!attempt || monotonic() - attemptedAt > PAUSE) {
      attemptedAt = monotonic();
      attempt = write();
    }
    return attempt;
  };
}

async function hasRoom(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    const { bavail, bfree, bsize, blocks } = await statfs(path);
    const free = process.geteuid?.() === 0 ? bfree : bavail;
    // Some file systems count nothing; there the write will tell.
    return blocks === 0 || free * bsize >= ROOM;
  } catch {
    return false;
  }
}
