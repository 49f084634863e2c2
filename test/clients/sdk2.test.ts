// The official TypeScript client, version 2, against the real program: with `initialize`, and stateless.
import { afterAll, expect, test } from "bun:test";
import { startPostern, stopProcesses } from "../process.ts";
import { createProgram } from "./program.ts";
import { isForeignIssuer, sdk2, sdk2Stateless } from "./sdk2.ts";
import { tellStory } from "./story.ts";

tellStory(sdk2);
tellStory(sdk2Stateless);

afterAll(stopProcesses);

const tampered: [string, (answer: URLSearchParams, issuer: string) => void][] = [
  ["without iss", (answer) => answer.delete("iss")],
  ["of another issuer", (answer) => answer.set("iss", "https://mallory.example")],
  ["with a slash behind the issuer", (answer, issuer) => answer.set("iss", `${issuer}/`)],
];

test.each(tampered)(
  "RFC 9207 §2.4: an answer %s is refused before its code is spent",
  async (_name, tamper) => {
    const postern = await startPostern({ base: "/base" });
    const program = createProgram(postern.browser);
    const connection = sdk2.open(postern.url, program);
    await connection.connect().catch(() => undefined);
    const [answer] = program.answers;
    if (!answer) throw new Error("nobody was asked to log in");
    const changed = new URLSearchParams(answer);
    tamper(changed, postern.config.issuer);
    const refusal: unknown = await connection.finishLogin(changed).catch((error: unknown) => error);
    expect(refusal).toSatisfy(isForeignIssuer);
    expect(program.requests.filter((line) => line.includes("/token"))).toEqual([]);
    // The genuine answer is still good.
    await connection.finishLogin(answer);
    expect(program.memory.tokens).toMatchObject({ scope: "mcp", issuer: postern.config.issuer });
  },
);
