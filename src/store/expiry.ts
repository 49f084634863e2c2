// Whether the clock may be believed: only then do expired records leave, and only a believed time is written down.

const DAY = 86_400_000;
/** How far past the newest time in the folder the clock may be after a rest. */
const LONGEST_REST = 90 * DAY;
/** A clock that is out of line all this time is the right one after all. */
const DOUBT = DAY;

export interface FolderClock {
  /** Whether the clock (epoch ms) fits the newest time that the folder knows. */
  plausible(): boolean;
  /** The time (epoch ms) to write down: a doubtful clock must not become the yardstick of the next start. */
  stamp(): number;
}

/** @param newest the newest time in the folder (epoch ms); undefined for a folder without any */
export function folderClock(
  newest: number | undefined,
  now: () => number,
  monotonic: () => number,
): FolderClock {
  let believed = newest;
  let believedAt = monotonic();
  let doubtedSince: number | undefined;

  const believe = (): number | undefined => {
    const time = now();
    const running = monotonic();
    const latest = (believed ?? time) + LONGEST_REST + (running - believedAt);
    if (believed !== undefined && (time < believed || time > latest)) {
      doubtedSince ??= running;
      if (running - doubtedSince < DOUBT) return undefined;
    }
    doubtedSince = undefined;
    believed = time;
    believedAt = running;
    return time;
  };

  return {
    plausible: () => believe() !== undefined,
    stamp: () => believe() ?? believed ?? now(),
  };
}
