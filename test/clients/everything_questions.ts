// Tools that answer with questions, as revision 2026-07-28 does, for the conformance runner's server scenarios.
import { type Caller, type Tool, schema, string, text } from "./everything_tools.ts";

/** A question that an answer of the stateless revision sends along. */
export const question = (message: string, properties: Record<string, object>): object => ({
  method: "elicitation/create",
  params: { mode: "form", message, requestedSchema: schema(properties) },
});
const forModel = (prompt: string, maxTokens: number): object => ({
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: { type: "text", text: prompt } }], maxTokens },
});
const roots = { method: "roots/list", params: {} };
export const needs = (inputRequests: Record<string, object>, requestState?: string): object => ({
  resultType: "input_required",
  inputRequests,
  ...(requestState !== undefined && { requestState }),
});
/** The content of an accepted question; undefined: not answered so. */
export function accepted({ responses }: Caller, name: string): Record<string, unknown> | undefined {
  const response = responses[name] as { action?: unknown; content?: object } | undefined;
  return response?.action === "accept" && response.content ? { ...response.content } : undefined;
}

const askName = question("What is your name?", { name: string });
const confirm = question("Please confirm", { ok: { type: "boolean" } });

export const returning: Tool[] = [
  {
    name: "test_input_required_result_elicitation",
    description: "Asks for a name.",
    call: (_parameters, caller) => {
      const name = accepted(caller, "user_name")?.["name"];
      return typeof name === "string" ? text(`Hello, ${name}!`) : needs({ user_name: askName });
    },
  },
  {
    name: "test_streaming_elicitation",
    description: "Asks for a name, on a stream.",
    call: async (_parameters, caller) => {
      await caller.progress(0);
      return needs({ user_name: askName });
    },
  },
  {
    name: "test_input_required_result_sampling",
    description: "Asks the client's model.",
    call: (_parameters, { responses }) =>
      responses["capital_question"]
        ? text(JSON.stringify(responses["capital_question"]))
        : needs({ capital_question: forModel("What is the capital of France?", 100) }),
  },
  {
    name: "test_input_required_result_list_roots",
    description: "Asks for the client's roots.",
    call: (_parameters, { responses }) =>
      responses["client_roots"]
        ? text(JSON.stringify(responses["client_roots"]))
        : needs({ client_roots: roots }),
  },
  ...["test_input_required_result_request_state", "test_input_required_result_tampered_state"].map(
    (name): Tool => ({
      name,
      description: "Gives the client a state to bring back.",
      call: async (_parameters, caller) =>
        caller.state === undefined
          ? needs({ confirm }, await caller.seal({ step: 1 }))
          : text(`state-ok ${JSON.stringify(accepted(caller, "confirm"))}`),
    }),
  ),
  {
    name: "test_input_required_result_multiple_inputs",
    description: "Asks three things at once.",
    call: async (_parameters, { responses, seal }) => {
      const asked = {
        user_name: askName,
        greeting: forModel("Generate a greeting", 50),
        client_roots: roots,
      };
      return Object.keys(asked).every((name) => responses[name])
        ? text(JSON.stringify(responses))
        : needs(asked, await seal({ step: 1 }));
    },
  },
  {
    name: "test_input_required_result_multi_round",
    description: "Asks twice, one after the other.",
    call: async (_parameters, caller) => {
      const { step } = (caller.state ?? { step: 0 }) as { step: number };
      if (step === 2) return text(JSON.stringify(caller.responses));
      const next: Record<string, object> =
        step === 0
          ? { step1: question("Step 1: What is your name?", { name: string }) }
          : { step2: question("Step 2: What is your favorite color?", { color: string }) };
      return needs(next, await caller.seal({ step: step + 1 }));
    },
  },
  {
    name: "test_input_required_result_capabilities",
    description: "Asks only what the client says that it can answer.",
    call: (_parameters, { capabilities }) =>
      needs({
        ...("sampling" in capabilities && { summary: forModel("Summarize", 50) }),
        ...("elicitation" in capabilities && { confirm }),
      }),
  },
  {
    name: "test_missing_capability",
    description: "Asks the client's model, whether there is one or not.",
    call: () => needs({ answer: forModel("Are you there?", 10) }),
  },
];
