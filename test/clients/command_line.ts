// Real clients that are programs: mcp-remote and the command line of the MCP Inspector, each in a process of its own with a
// home of its own and no screen. Their person's browser opens what they print.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Glob } from "bun";
import { type Postern, freePort } from "../process.ts";
import { temporaryFolder } from "../server.ts";

export interface CommandLineClient {
  readonly name: string;
  /** Starts it for one MCP server, whose URL somebody typed. */
  open(home: Home, postern: Postern): Session;
}

export interface Session {
  /** Resolves to what the tool whoami answered. @throws {Error} with what the program said */
  whoami(): Promise<Identity>;
  close(): Promise<void>;
}

export interface Identity {
  readonly subject: string;
  readonly client: { readonly id: string };
}

/** What a person has on the machine that the program runs on. */
export interface Home {
  readonly path: string;
  /** Port that answers come back to, where it can be chosen. */
  readonly callbackPort: number;
  /** Authorization URLs that were printed for the person, each of them visited. */
  readonly logins: string[];
}

export const newHome = async (): Promise<Home> => ({
  path: temporaryFolder(),
  callbackPort: await freePort(),
  logins: [],
});

/** Changes the last character of every access token that is kept: as good as an expired one, without the waiting. */
export function spoilTokens({ path }: Home): number {
  let spoiled = 0;
  for (const file of new Glob("**/*.json").scanSync({ cwd: path, dot: true, absolute: true })) {
    const text = readFileSync(file, "utf8");
    const changed = text.replace(/pat_[\w-]+\.\d+\.[\w-]{42}/g, (start) => {
      spoiled++;
      return `${start.slice(0, -1)}${start.endsWith("A") ? "B" : "A"}`;
    });
    if (changed !== text) writeFileSync(file, changed);
  }
  return spoiled;
}

const packageFile = (path: string): string => resolve(import.meta.dir, "../../node_modules", path);

type Child = Bun.Subprocess<"pipe", "pipe", "pipe">;

/** With nothing in its PATH: a browser that it finds would open what our person opens. */
function spawn(
  home: Home,
  words: readonly string[],
  environment: Record<string, string> = {},
): Child {
  return Bun.spawn([process.execPath, ...words], {
    cwd: home.path,
    env: { HOME: home.path, PATH: home.path, ...environment },
    stdio: ["pipe", "pipe", "pipe"],
  });
}

/** Reads what the program says to its person, and goes where it sends them. Resolves to all of it at the end. */
async function attend(child: Child, home: Home, postern: Postern): Promise<string> {
  let said = "";
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    said += text;
    const url = /http:\/\/\S+\/authorize\?\S+(?=\s)/.exec(said.slice(-4096))?.[0];
    if (url === undefined || home.logins.includes(url)) continue;
    home.logins.push(url);
    const answer = await postern.browser.authorize(url);
    const location = answer.headers.get("location");
    if (location === null)
      throw new Error(`not sent back: ${answer.status} ${await answer.text()}`);
    await arrive(location);
  }
  return said;
}

/** mcp-remote prints the address before it listens for the answer: a person is slower than that. */
async function arrive(location: string): Promise<void> {
  for (const deadline = performance.now() + 10_000; ;) {
    try {
      await (await fetch(location)).text();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await Bun.sleep(20);
    }
  }
}

export const mcpRemote: CommandLineClient = {
  name: "mcp-remote",
  open: (home, postern) => {
    const child = spawn(home, [packageFile("mcp-remote/dist/proxy.js"), postern.url]);
    const said = attend(child, home, postern);
    said.catch(() => child.kill());
    const answers = readMessages(child);
    let id = 0;
    const send = (message: object): void => {
      child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
      void child.stdin.flush();
    };
    const ask = async (method: string, params: object): Promise<unknown> => {
      send({ id: ++id, method, params });
      const answer = await answers.next();
      if (answer.done) throw new Error(await said);
      if (answer.value.id !== id || !answer.value.result)
        throw new Error(`${method}: ${JSON.stringify(answer.value)}`);
      return answer.value.result;
    };
    const ready = ask("initialize", {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "Desktop", version: "1.0.0" },
    }).then(() => send({ method: "notifications/initialized" }));
    return {
      whoami: async () => {
        await ready;
        const result = await ask("tools/call", { name: "whoami", arguments: {} });
        return (result as { structuredContent: Identity }).structuredContent;
      },
      close: async () => {
        child.kill();
        await child.exited;
      },
    };
  },
};

interface Answer {
  readonly id?: number;
  readonly result?: object;
}

/** JSON-RPC messages, one a line; requests of the server are none of ours. */
async function* readMessages(child: Child): AsyncGenerator<Answer, undefined> {
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as Answer;
  }
  return undefined;
}

/** Each call is a process: it is a tool for scripts. */
export const inspector: CommandLineClient = {
  name: "Inspector",
  open: (home, postern) => ({
    whoami: async () => {
      const child = spawn(
        home,
        [
          packageFile("@modelcontextprotocol/inspector/clients/cli/build/index.js"),
          postern.url,
          ["--transport", "http", "--method", "tools/call", "--tool-name", "whoami"],
          ["--format", "json"],
          ["--callback-url", `http://127.0.0.1:${home.callbackPort}/oauth/callback`],
        ].flat(),
        // Without a terminal it asks a person only if it may open a browser.
        { MCP_AUTO_OPEN_ENABLED: "true", MCP_INSPECTOR_SECRET_STORE: "file" },
      );
      child.stdin.end();
      const printed = new Response(child.stdout).text();
      const said = await attend(child, home, postern);
      if ((await child.exited) !== 0) throw new Error(said);
      const { result } = JSON.parse(await printed) as { result: { structuredContent: Identity } };
      return result.structuredContent;
    },
    close: async () => undefined,
  }),
};
