// /account/keys: making, naming and ending API keys. What is done is admin/keys.ts.
import { addKey, keyRows, renameKey, revokeKey } from "../admin/keys.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { type Parameters, readForm } from "../form.ts";
import { pathUnderUrl } from "../oauth/keys.ts";
import type { AccountFrame } from "../web/account_frame.ts";
import { endKeyBody, keysPage, newKeyPage } from "../web/keys_page.ts";
import { frameOf, withFrame } from "./frame.ts";
import { ending, renaming } from "./one_record.ts";
import { askedBy, requireForm } from "./proof.ts";

const HERE = "/account/keys";

async function showKeys(
  frame: AccountFrame,
  deps: Deps,
  tried?: { problem: string; name: string },
): Promise<Response> {
  const servers = deps.config.servers.map((server) => ({
    name: server.name,
    scopes: server.scopes,
    path: pathUnderUrl(server, deps.config),
  }));
  return keysPage({ ...frame, servers, keys: await keyRows(deps), ...tried });
}

/** GET /account/keys */
export const keys = (request: Request, deps: Deps): Promise<Response> =>
  withFrame(request, deps, (frame) => showKeys(frame, deps));

/** POST /account/keys: the answer is the key, so there is no redirect; sent again, its name is taken. */
export async function makeKey(request: Request, deps: Deps, call: Call): Promise<Response> {
  const form = await readForm(request);
  const session = await requireForm(request, form, deps);
  const frame = frameOf(session, deps);
  try {
    const made = await addKey(askedBy(session, call, { body: readNewKey(form) }), deps);
    return newKeyPage(frame, made);
  } catch (error) {
    if (!(error instanceof OAuthError) || error.status !== 400) throw error;
    return showKeys(frame, deps, { problem: error.message, name: form.get("name") ?? "" });
  }
}

/** Boxes are there only where there is a choice; with none of them ticked the key would open nothing, which is refused. */
function readNewKey(form: Parameters): Record<string, unknown> {
  const chosen = form.all("chosen");
  return {
    name: form.get("name"),
    ...(chosen.includes("servers") && { servers: form.all("servers") }),
    ...(chosen.includes("scope") && { scope: form.all("scope").join(" ") }),
    expires_in: Number(form.get("expires_in") ?? Number.NaN),
  };
}

export const keyName = renaming({
  here: HERE,
  path: "/account/keys/rename",
  rows: keyRows,
  verb: renameKey,
  what: ({ name }) => name,
  name: ({ name }) => name,
});

export const keyEnd = ending({
  here: HERE,
  path: "/account/keys/revoke",
  rows: keyRows,
  verb: revokeKey,
  title: ({ name }) => `End the key ${name}?`,
  body: endKeyBody,
  button: "End the key",
  done: "key-ended",
});
