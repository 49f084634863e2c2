// Whether the clock may be believed, and what time it is when it may not: expired records leave only by a believed clock, and
// a wrong one logs nobody out once it is right again.

const DAY = 86_400_000;
/** How far past the newest time in the folder the clock may be after a rest. */
const LONGEST_REST = 90 * DAY;
/** A clock that is out of line all this time is the right one after all. */
const DOUBT = DAY;
/** Before there was any Postern: a machine that has no clock of its own and has not asked for the time yet. */
const EARLIEST = Date.UTC(2026, 0, 1);

export interface FolderClock {
  /** Whether the clock (epoch ms) fits the newest time that the folder knows. */
  plausible(): boolean;
  /**
   * The time (epoch ms) to decide by and to put into records: the clock's, never behind what the folder knows. A clock that
   * jumps while the process runs is replaced by counting.
   */
  time(): number;
  /** Whether that time is the clock's only because it may tell of a long rest: it may as well be years ahead. */
  mayBeAhead(): boolean;
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
  let everBelieved = false;

  const fits = (time: number, running: number): boolean => {
    if (time < EARLIEST) return false;
    if (believed === undefined) return true;
    return time >= believed && time <= believed + LONGEST_REST + (running - believedAt);
  };
  const believe = (): number | undefined => {
    const time = now();
    const running = monotonic();
    if (!fits(time, running)) {
      doubtedSince ??= running;
      if (running - doubtedSince < DOUBT || time < EARLIEST) return undefined;
    }
    doubtedSince = undefined;
    everBelieved = true;
    believed = time;
    believedAt = running;
    return time;
  };
  const counted = (): number => Math.floor((believed ?? EARLIEST) + (monotonic() - believedAt));

  return {
    plausible: () => believe() !== undefined,
    // A clock that is far ahead right at the start may tell of a long rest, after which what has expired is over.
    time: () => believe() ?? (everBelieved ? counted() : Math.max(counted(), now())),
    mayBeAhead: () => believe() === undefined && !everBelieved && now() > counted(),
    stamp: () => believe() ?? counted(),
  };
}
