// "Connect a client": the address to paste, and the exact line or click for each client. The table is clients/recipes.ts.
import type { Server } from "../config.ts";
import { isLoopbackHost } from "../values.ts";
import { type AccountFrame, accountPage } from "./account_frame.ts";
import { type Html, href, html } from "./html.ts";
import { type Recipe, type Step, recipes } from "../clients/recipes.ts";

export interface ConnectPage extends AccountFrame {
  readonly servers: readonly Pick<Server, "name" | "resource">[];
}

/** GET /connect */
export function connectPage(page: ConnectPage): Response {
  const { servers } = page;
  const several = servers.length > 1;
  return accountPage(
    page,
    "/connect",
    "Connect a client",
    html`<h1>Connect a client</h1>
      <div class="reading">
        <p>
          Give your client this address. It opens a page of this server, where you allow it once.
          One click selects a whole box.
        </p>
        ${servers.map(
          (server) =>
            html`${several && html`<h2>${server.name}</h2>`}
              <pre>${server.resource}</pre>
              ${clientsFor(server)}`,
        )}
      </div>`,
  );
}

/** What a client calls the server in its own list: letters, digits and dashes, as all of them take it. */
export function entryName({ name, resource }: Pick<Server, "name" | "resource">): string {
  // The name that nobody chose is host and path, which makes a poor entry.
  const last = new URL(resource).pathname.split("/").at(-1) ?? "";
  const chosen = resource.endsWith(`//${name}`) ? (last === "mcp" ? "" : last) : name;
  const entry = chosen
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 32)
    .replace(/^-+|-+$/g, "");
  return entry || "postern";
}

function clientsFor(server: Pick<Server, "name" | "resource">): Html[] {
  const { resource } = server;
  const onLoopback = isLoopbackHost(new URL(resource).hostname);
  // Open: what most people come for, and can reach this server.
  const usual = onLoopback ? recipes["claude-code"] : recipes["claude"];
  return Object.values(recipes).map(
    (recipe) =>
      html`<details${recipe === usual && html` open`}><summary>${recipe.title}</summary>
${recipe.hosted && onLoopback && away(resource)}${stepsOf(recipe, server)}</details>
`,
  );
}

const away = (resource: string): Html =>
  html`<p class="note" role="note">
    It connects from its maker’s data center and cannot reach
    <code>${new URL(resource).host}</code>. Give this server a public https address first: start it
    with <code>--url https://…</code> behind a tunnel or reverse proxy.
  </p>`;

/** Sentences that follow each other are numbered. */
function stepsOf(recipe: Recipe, server: Pick<Server, "name" | "resource">): Html[] {
  const shown: Html[] = [];
  let sentences: string[] = [];
  const endSentences = (): void => {
    if (sentences.length > 1)
      shown.push(
        html`<ol>
          ${sentences.map((text) => html`<li>${sentence(text)}</li>`)}
        </ol>`,
      );
    else shown.push(...sentences.map((text) => html`<p>${sentence(text)}</p>`));
    sentences = [];
  };
  for (const step of recipe.steps(entryName(server), server.resource)) {
    if ("say" in step) {
      sentences.push(step.say);
      continue;
    }
    endSentences();
    shown.push(boxOf(step));
  }
  endSentences();
  return shown;
}

function boxOf(step: Exclude<Step, { say: string }>): Html {
  if ("press" in step)
    return html`<p><a class="button" href="${href(step.url, [step.scheme])}">${step.press}</a></p>`;
  const { paste } = step;
  if (typeof paste === "string") return html`<pre>${paste}</pre>`;
  if ("json" in paste) return html`<pre>${JSON.stringify(paste.json, null, 2)}</pre>`;
  // Options do not break at their dashes on a narrow screen.
  const words = paste.map((text) =>
    text.startsWith("-") ? html`<span class="whole">${text}</span>` : text,
  );
  return html`<pre>${words.map((text, index) => html`${index > 0 && " "}${text}`)}</pre>`;
}

const marks = /(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)]+\))/;

/** A sentence of a recipe with its marks as elements. */
const sentence = (text: string): Html[] =>
  text.split(marks).map((part) => {
    const [, name, url] = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part) ?? [];
    if (url !== undefined) return html`<a href="${href(url)}" rel="noreferrer">${name}</a>`;
    if (part.startsWith("**")) return html`<strong>${part.slice(2, -2)}</strong>`;
    return part.startsWith("`") ? html`<code>${part.slice(1, -1)}</code>` : html`${part}`;
  });
