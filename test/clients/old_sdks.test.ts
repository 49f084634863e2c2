// Older versions of the official SDK, as they are out in the field, against the real program.
import { afterAll, beforeAll } from "bun:test";
import { oldSdks, recordGlobalFetch } from "./old_sdks.ts";
import { tellStory } from "./story.ts";

let restore = (): void => undefined;
beforeAll(() => {
  restore = recordGlobalFetch();
});
afterAll(() => restore());

for (const sdk of oldSdks) tellStory(sdk, false);
