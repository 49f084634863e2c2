// What a browser makes of a page's fetch to another origin (the Fetch standard's CORS protocol): a preflight where one is
// due, no answer without leave to read it, and only the headers that are exposed.

type Ask = (init: RequestInit) => Promise<Response>;

const simpleRequest = new Set(["accept", "accept-language", "content-language", "content-type"]);
const simpleTypes = /^(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)(;|$)/i;
const simpleResponse = [
  "cache-control",
  "content-language",
  "content-length",
  "content-type",
  "expires",
  "last-modified",
  "pragma",
];

/** @throws {TypeError} as a browser's console says it */
export async function fetchAsPage(
  ask: Ask,
  origin: string,
  { method = "GET", headers, body }: RequestInit,
): Promise<Response> {
  const sent = new Request("http://x", { method, headers: headers ?? {}, body: body ?? null });
  // A browser adds its own name for itself; a page cannot.
  sent.headers.delete("user-agent");
  const unsafe = [...sent.headers.keys()]
    .filter(
      (name) =>
        !simpleRequest.has(name) ||
        (name === "content-type" && !simpleTypes.test(sent.headers.get(name) ?? "")),
    )
    .toSorted();
  if (unsafe.length > 0 || !["GET", "HEAD", "POST"].includes(method))
    await preflight(ask, origin, method, unsafe);
  const out = new Headers(sent.headers);
  out.set("origin", origin);
  const response = await ask({ method, headers: out, body: body ?? null });
  mayRead(response, origin);
  const exposed = list(response.headers.get("access-control-expose-headers"));
  const seen = new Headers();
  for (const [name, value] of response.headers)
    if (simpleResponse.includes(name) || exposed.includes(name)) seen.append(name, value);
  return new Response(response.body, { status: response.status, headers: seen });
}

async function preflight(
  ask: Ask,
  origin: string,
  method: string,
  names: readonly string[],
): Promise<void> {
  const response = await ask({
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": method,
      ...(names.length > 0 && { "access-control-request-headers": names.join(",") }),
    },
  });
  mayRead(response, origin);
  if (!response.ok) throw new TypeError(`the preflight was answered ${response.status}`);
  const methods = list(response.headers.get("access-control-allow-methods"));
  if (!["get", "head", "post", ...methods].includes(method.toLowerCase()))
    throw new TypeError(`${method} is not allowed by the preflight`);
  // The wildcard would not cover Authorization, so names have to be there.
  const allowed = list(response.headers.get("access-control-allow-headers"));
  const missing = names.filter((name) => !allowed.includes(name));
  if (missing.length > 0) throw new TypeError(`not allowed by the preflight: ${missing.join()}`);
}

function mayRead(response: Response, origin: string): void {
  const leave = response.headers.get("access-control-allow-origin");
  if (leave !== "*" && leave !== origin) throw new TypeError(`no leave to read for ${origin}`);
}

const list = (text: string | null): string[] =>
  (text ?? "").split(",").map((name) => name.trim().toLowerCase());
