// A clock that somebody sets while the program runs: libfaketime moves the wall clock of one process and leaves the monotonic
// one, and the times of files, alone.
import { rmSync, writeFileSync } from "node:fs";
import { Glob } from "bun";

/** The library of Debian's package faketime; undefined when the machine lacks it. */
export function fakeTimeLibrary(): string | undefined {
  return [...new Glob("/usr/lib/**/faketime/libfaketime.so.1").scanSync({ absolute: true })][0];
}

export interface FakeClock {
  /** What the program is started with. */
  readonly environment: Readonly<Record<string, string>>;
  /** "+0", "-1d", "+10y", "@1970-01-01 00:00:10". A program that runs notices at once. */
  set(time: string): void;
}

/** @param file where the present setting stands */
export function fakeClock(file: string): FakeClock {
  const set = (time: string): void => writeFileSync(file, `${time}\n`);
  set("+0");
  const environment = {
    LD_PRELOAD: fakeTimeLibrary() ?? "",
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    DONT_FAKE_MONOTONIC: "1",
    NO_FAKE_STAT: "1",
  };
  return { environment, set };
}

/** Removes what the library leaves of a process that was killed: the next one of that number would find it. */
export function forgetFakeTime(pid: number): void {
  for (const name of [`faketime_shm_${pid}`, `sem.faketime_sem_${pid}`]) {
    rmSync(`/dev/shm/${name}`, { force: true });
  }
}
