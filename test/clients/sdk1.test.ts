// The official TypeScript SDK, version 1, against the real program.
import { sdk1 } from "./sdk1.ts";
import { tellStory } from "./story.ts";

tellStory(sdk1);
