// The two things that an account page does with one record: another name, and its end, each asked on a page of its own.
// Which record, in which words and by which verb is the caller's.
import type { Asked } from "../admin/asked.ts";
import type { Deps, Handler } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { readForm } from "../form.ts";
import { seeOther } from "../login/login.ts";
import type { AccountFrame, Place } from "../web/account_frame.ts";
import { confirmPage, renamePage } from "../web/confirm_page.ts";
import type { Html } from "../web/html.ts";
import { type Done, donePath } from "./done.ts";
import { frameOf, withFrame } from "./frame.ts";
import { askedBy, requireForm } from "./proof.ts";

interface Pages {
  /** GET: the question. */
  readonly ask: Handler;
  /** POST: the answer. */
  readonly answer: Handler;
}

interface OneRecord<R> {
  /** The page that the question came from, and that the answer leads back to. */
  readonly here: Place;
  /** The path of both pages. */
  readonly path: `/${string}`;
  readonly rows: (deps: Deps) => Promise<readonly R[]>;
  readonly verb: (asked: Asked, deps: Deps) => Promise<unknown>;
}

interface Row {
  readonly id: string;
}

/** Two tabs: it was ended in the other one. */
export const gone = (here: Place, deps: Deps): Response => seeOther(donePath(here, "gone"), deps);

export interface Renaming<R> extends OneRecord<R> {
  /** "Claude Code: Laptop" */
  readonly what: (row: R) => string;
  /** The owner's name for it so far. */
  readonly name: (row: R) => string;
}

export function renaming<R extends Row>({
  here,
  path,
  rows,
  verb,
  what,
  name,
}: Renaming<R>): Pages {
  const find = async (id: string | null, deps: Deps): Promise<R | undefined> =>
    (await rows(deps)).find((row) => row.id === id);
  const show = (frame: AccountFrame, row: R, problem?: string): Response =>
    renamePage({
      ...frame,
      here,
      what: what(row),
      action: path,
      id: row.id,
      name: name(row),
      ...(problem !== undefined && { problem }),
    });
  return {
    ask: (request, deps) =>
      withFrame(request, deps, async (frame, _session, query) => {
        const row = await find(query.get("id"), deps);
        return row ? show(frame, row) : gone(here, deps);
      }),
    answer: async (request, deps, call) => {
      const form = await readForm(request);
      const session = await requireForm(request, form, deps);
      const row = await find(form.require("id"), deps);
      if (!row) return gone(here, deps);
      const body = { name: form.get("name") };
      try {
        await verb(askedBy(session, call, { id: row.id, body }), deps);
      } catch (error) {
        if (!(error instanceof OAuthError) || error.status !== 400) throw error;
        return show(frameOf(session, deps), row, error.message);
      }
      return seeOther(donePath(here, "renamed"), deps);
    },
  };
}

export interface Ending<R> extends OneRecord<R> {
  readonly title: (row: R) => string;
  readonly body: (row: R, now: number) => Html;
  readonly button: string;
  readonly done: Done;
}

export function ending<R extends Row>(given: Ending<R>): Pages {
  const { here, path, rows, verb, title, body, button, done } = given;
  const find = async (id: string | null, deps: Deps): Promise<R | undefined> =>
    (await rows(deps)).find((row) => row.id === id);
  return {
    ask: (request, deps) =>
      withFrame(request, deps, async (frame, _session, query) => {
        const row = await find(query.get("id"), deps);
        if (!row) return gone(here, deps);
        const fields = { id: row.id };
        const text = { title: title(row), body: body(row, frame.now), button };
        return confirmPage({ ...frame, here, action: path, fields, ...text });
      }),
    answer: async (request, deps, call) => {
      const form = await readForm(request);
      const session = await requireForm(request, form, deps);
      const row = await find(form.require("id"), deps);
      if (!row) return gone(here, deps);
      await verb(askedBy(session, call, { id: row.id }), deps);
      return seeOther(donePath(here, done), deps);
    },
  };
}
