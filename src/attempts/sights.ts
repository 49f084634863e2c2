// What single requests show of a connection on its way: called where a step ends, never on the way of a refresh or of a
// call that is let through.
import { isCheckup } from "../checkup.ts";
import type { Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import type { StepName } from "./steps.ts";
import type { Origin } from "./trail.ts";

export const originOf = (request: Request, call: Call, { checkups }: Deps): Origin => ({
  address: call.address,
  agent: request.headers.get("user-agent") ?? "",
  requestId: call.requestId,
  hidden: isCheckup(request, checkups),
});

/** A request that ended in an error. Without credentials, the 401 of an MCP endpoint is the first step and no refusal. */
export function seeRefusal(
  step: StepName,
  thrown: unknown,
  request: Request,
  call: Call,
  deps: Deps,
): void {
  if (!(thrown instanceof OAuthError)) return;
  const from = originOf(request, call, deps);
  if (step === "challenge") {
    if (request.headers.has("authorization")) return;
    const isChallenge = thrown.code === "invalid_token";
    deps.attempts.see({ step, ...(!isChallenge && { error: thrown }) }, from);
    return;
  }
  const query = step === "authorization" ? new URL(request.url).search.slice(1) : "";
  const sent = new URLSearchParams(query);
  const clientId = sent.get("client_id") ?? undefined;
  const redirectUri = sent.get("redirect_uri") ?? undefined;
  const about = { clientId, redirectUri, ...(query !== "" && { query }) };
  deps.attempts.see({ step, error: thrown, ...about }, from);
}

/** A code on its way to tokens; `family` reads the grant out of the answer. */
export async function seeRedemption<T>(
  sight: { readonly clientId: string | undefined; readonly code: string },
  from: Origin,
  deps: Deps,
  { redeem, family }: { redeem: () => Promise<T>; family: (issued: T) => string | undefined },
): Promise<T> {
  try {
    const issued = await redeem();
    const made = family(issued);
    deps.attempts.see(
      { step: "token", ...sight, ...(made !== undefined && { family: made }) },
      from,
    );
    return issued;
  } catch (error) {
    if (error instanceof OAuthError) deps.attempts.see({ step: "token", ...sight, error }, from);
    throw error;
  }
}
