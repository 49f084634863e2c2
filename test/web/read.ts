// Reads pages back: elements with their attributes, and the text that a person sees.

export interface Element {
  readonly tag: string;
  /** Values as they stand in the source, entities included. */
  readonly attributes: ReadonlyMap<string, string>;
}

export async function elements(response: Response): Promise<Element[]> {
  const found: Element[] = [];
  await new HTMLRewriter()
    .on("*", {
      element: ({ tagName, attributes }) => {
        const pairs = [...attributes].map(([name = "", value = ""]): [string, string] => [
          name,
          value,
        ]);
        found.push({ tag: tagName, attributes: new Map(pairs) });
      },
    })
    .transform(response)
    .text();
  return found;
}

const entities: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  "#x27": "'",
};

export const decode = (text: string): string =>
  text.replace(/&([a-z]+|#x27);/g, (whole, name: string) => entities[name] ?? whole);

/** The text of `main`, white space as single blanks. */
export async function textOf(response: Response): Promise<string> {
  const main = /<main>([\s\S]*)<\/main>/.exec(await response.text())?.[1] ?? "";
  return decode(
    main.replace(/<wbr ?\/?>|<\/?(?:bdi|strong|code|span)\b[^>]*>/g, "").replace(/<[^>]*>/g, " "),
  )
    .replace(/\s+/g, " ")
    .trim();
}

/** The texts of all `pre` elements, as copying them gives them. */
export async function boxesOf(response: Response): Promise<string[]> {
  const found = (await response.text()).matchAll(/<pre>\n?([\s\S]*?)<\/pre>/g);
  return [...found].map(([, inner = ""]) => decode(inner.replace(/<[^>]*>/g, "")));
}
