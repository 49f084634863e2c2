// What the conformance runner's server scenarios look for: tools, prompts and resources. everything_server.ts serves them with
// the official SDK.
import { accepted, needs, question, returning } from "./everything_questions.ts";
import {
  type Caller,
  type Tool,
  asking,
  contents,
  image,
  png,
  string,
  talking,
} from "./everything_tools.ts";

export const tools: readonly Tool[] = [...contents, ...talking, ...asking, ...returning];

export interface Prompt {
  readonly name: string;
  readonly description: string;
  readonly parameters: readonly string[];
  get(parameters: Readonly<Record<string, unknown>>, caller: Caller): object;
}

const user = (content: object): object => ({ role: "user", content });

export const prompts: readonly Prompt[] = [
  {
    name: "test_simple_prompt",
    description: "One message.",
    parameters: [],
    get: () => ({
      messages: [user({ type: "text", text: "This is a simple prompt for testing." })],
    }),
  },
  {
    name: "test_prompt_with_arguments",
    description: "Repeats its arguments.",
    parameters: ["arg1", "arg2"],
    get: ({ arg1, arg2 }) => ({
      messages: [
        user({
          type: "text",
          text: `Prompt with arguments: arg1='${String(arg1)}', arg2='${String(arg2)}'`,
        }),
      ],
    }),
  },
  {
    name: "test_prompt_with_embedded_resource",
    description: "A resource within the message.",
    parameters: ["resourceUri"],
    get: ({ resourceUri }) => ({
      messages: [
        user({
          type: "resource",
          resource: {
            uri: resourceUri,
            mimeType: "text/plain",
            text: "Embedded resource content for testing.",
          },
        }),
        user({ type: "text", text: "Please process the embedded resource above." }),
      ],
    }),
  },
  {
    name: "test_prompt_with_image",
    description: "An image within the message.",
    parameters: [],
    get: () => ({
      messages: [user(image), user({ type: "text", text: "Please analyze the image above." })],
    }),
  },
  {
    name: "test_input_required_result_prompt",
    description: "Asks before it says anything.",
    parameters: [],
    get: (_parameters, caller) => {
      const context = accepted(caller, "user_context")?.["context"];
      return typeof context === "string"
        ? { messages: [user({ type: "text", text: context })] }
        : needs({
            user_context: question("What context should the prompt use?", { context: string }),
          });
    },
  },
];

export const resources = [
  {
    name: "static-text",
    uri: "test://static-text",
    mimeType: "text/plain",
    text: "This is the content of the static text resource.",
  },
  { name: "static-binary", uri: "test://static-binary", mimeType: "image/png", blob: png },
  {
    name: "watched-resource",
    uri: "test://watched-resource",
    mimeType: "text/plain",
    text: "watched",
  },
] as const;

export const template = {
  name: "template",
  uri: "test://template/{id}/data",
  mimeType: "application/json",
  text: (id: string): string =>
    JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
};
