// What a person reads when a client cannot be let in as it comes. What to press in which client is clients/forgetting.ts's.
import { registerAnew } from "../clients/forgetting.ts";
import { OAuthError } from "../errors.ts";

/** What a client sent that its maker alone can change. */
export const updateClient =
  "Update the client: only its maker can change what it sends.\nIf that does not help, tell the maker what stands above.";

/** RFC 6749 §4.1.2.1: an id that is not registered here is told to the person and never redirected. */
export function unknownClient(id: string, redirectUri: string | undefined): OAuthError {
  const asked = redirectUri === undefined ? [] : [redirectUri];
  return new OAuthError("invalid_client", "The client is not registered with this server.", {
    status: 400,
    title: "This server does not know the client",
    detail: `unknown client_id ${id}`,
    advice: registerAnew(asked),
    facts: {
      sent: [`client_id=${id}`, ...asked.map((uri) => `redirect_uri=${uri}`)],
      expected: ["the client_id of a client that is registered here"],
    },
  });
}
