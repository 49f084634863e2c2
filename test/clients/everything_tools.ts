// Tools that the conformance runner's server scenarios call, as plain values and functions: contents of every kind, messages
// on the way, questions within a session.

/** What a tool may ask of its server. */
export interface Caller {
  /** Answers of the client in the stateless revision, by the name of the question. */
  readonly responses: Readonly<Record<string, unknown>>;
  /** What a former answer of this server gave the client to bring back; undefined when it brought none. */
  readonly state: unknown;
  /** Capabilities that the client declares with each request of the stateless revision. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  readonly progressToken: string | number | undefined;
  log(message: string): Promise<void>;
  progress(progress: number): Promise<void>;
  /** Asks the client within a session. */
  elicit(message: string, requestedSchema: object): Promise<{ action: string; content?: unknown }>;
  sample(prompt: string): Promise<string>;
  /** Makes a state that the client can bring back and not change. */
  seal(state: object): Promise<string>;
  /** Ends the stream of this answer; the client asks for the rest with Last-Event-ID. */
  hangUp(): void;
  /** Tells those who listen. */
  announce(list: "tools" | "prompts"): void;
}

export interface Tool {
  readonly name: string;
  readonly description: string;
  readonly schema?: object;
  call(parameters: Readonly<Record<string, unknown>>, caller: Caller): object | Promise<object>;
}

export const text = (words: string): object => ({ content: [{ type: "text", text: words }] });
const pause = (): Promise<void> => Bun.sleep(50);
export const schema = (
  properties: Record<string, object>,
  required = Object.keys(properties),
): object => ({
  type: "object",
  properties,
  required,
});
export const string = { type: "string" };

// One transparent pixel, and a sound of no samples.
export const png =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";
const wav = Buffer.concat([
  Buffer.from("RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", "latin1"),
  Buffer.from("\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0", "latin1"),
]).toString("base64");

export const image = { type: "image", data: png, mimeType: "image/png" };

export const contents: Tool[] = [
  {
    name: "test_simple_text",
    description: "One text.",
    call: () => text("This is a simple text response for testing."),
  },
  { name: "test_image_content", description: "One image.", call: () => ({ content: [image] }) },
  {
    name: "test_audio_content",
    description: "One sound.",
    call: () => ({ content: [{ type: "audio", data: wav, mimeType: "audio/wav" }] }),
  },
  {
    name: "test_embedded_resource",
    description: "A resource within the answer.",
    call: () => ({
      content: [
        {
          type: "resource",
          resource: {
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            text: "This is an embedded resource content.",
          },
        },
      ],
    }),
  },
  {
    name: "test_multiple_content_types",
    description: "A text, an image and a resource.",
    call: () => ({
      content: [
        { type: "text", text: "Multiple content types test:" },
        image,
        {
          type: "resource",
          resource: {
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            text: JSON.stringify({ test: "data", value: 123 }),
          },
        },
      ],
    }),
  },
  {
    name: "test_error_handling",
    description: "Fails.",
    call: () => {
      throw new Error("This tool intentionally returns an error for testing");
    },
  },
  {
    name: "json_schema_2020_12_tool",
    description: "Keywords of JSON Schema 2020-12.",
    schema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: string, city: string },
        },
      },
      properties: {
        name: string,
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: string,
        email: string,
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    call: (parameters) => text(JSON.stringify(parameters)),
  },
  {
    name: "test_x_mcp_header",
    description: "A parameter that a header repeats.",
    schema: schema({ region: { type: "string", "x-mcp-header": "Region" } }),
    call: ({ region }) => text(String(region)),
  },
];

export const talking: Tool[] = [
  {
    name: "test_tool_with_logging",
    description: "Three log messages on the way.",
    call: async (_parameters, { log }) => {
      await log("Tool execution started");
      await pause();
      await log("Tool processing data");
      await pause();
      await log("Tool execution completed");
      return text("logged");
    },
  },
  {
    name: "test_logging_tool",
    description: "A log message for those who want it.",
    call: async (_parameters, { log }) => {
      await log("called");
      return text("logged");
    },
  },
  {
    name: "test_tool_with_progress",
    description: "Tells how far it is.",
    call: async (_parameters, { progress, progressToken }) => {
      for (const done of [0, 50, 100]) {
        if (progressToken !== undefined) await progress(done);
        await pause();
      }
      return text("done");
    },
  },
  {
    name: "test_reconnection",
    description: "Hangs up, and answers whoever comes back.",
    call: async (_parameters, { hangUp }) => {
      hangUp();
      await pause();
      return text("You came back.");
    },
  },
  {
    name: "test_trigger_tool_change",
    description: "Says that the tools changed.",
    call: (_parameters, { announce }) => {
      announce("tools");
      return text("announced");
    },
  },
  {
    name: "test_trigger_prompt_change",
    description: "Says that the prompts changed.",
    call: (_parameters, { announce }) => {
      announce("prompts");
      return text("announced");
    },
  },
];

const titled = (...names: string[]): object[] =>
  names.map((title, index) => ({ const: `value${index + 1}`, title }));
const three = ["option1", "option2", "option3"];

/** Those that ask the client within a session, as revisions until 2025-11-25 do. */
export const asking: Tool[] = [
  {
    name: "test_sampling",
    description: "Asks the client's model.",
    schema: schema({ prompt: string }),
    call: async ({ prompt }, { sample }) => text(`LLM response: ${await sample(String(prompt))}`),
  },
  {
    name: "test_elicitation",
    description: "Asks the client's person.",
    schema: schema({ message: string }),
    call: async ({ message }, { elicit }) => {
      const asked = schema({
        username: { type: "string", description: "User's response" },
        email: { type: "string", description: "User's email address" },
      });
      const { action, content } = await elicit(String(message), asked);
      return text(`User response: action: ${action}, content: ${JSON.stringify(content)}`);
    },
  },
  ...(
    [
      [
        "test_elicitation_sep1034_defaults",
        {
          name: { type: "string", default: "John Doe" },
          age: { type: "integer", default: 30 },
          score: { type: "number", default: 95.5 },
          status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
          verified: { type: "boolean", default: true },
        },
      ],
      [
        "test_elicitation_sep1330_enums",
        {
          untitledSingle: { type: "string", enum: three },
          titledSingle: {
            type: "string",
            oneOf: titled("First Option", "Second Option", "Third Option"),
          },
          legacyEnum: {
            type: "string",
            enum: ["opt1", "opt2", "opt3"],
            enumNames: ["Option One", "Option Two", "Option Three"],
          },
          untitledMulti: { type: "array", items: { type: "string", enum: three } },
          titledMulti: {
            type: "array",
            items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") },
          },
        },
      ],
    ] as const
  ).map(([name, properties]): Tool => ({
    name,
    description: "Asks the client's person with a form.",
    call: async (_parameters, { elicit }) => {
      const { action, content } = await elicit("Please fill in", schema(properties, []));
      const said = JSON.stringify(content);
      return text(`Elicitation completed: action=${action}, content=${said}`);
    },
  })),
];
