#!/usr/bin/env bun
// Entry of the executable: the command line in, an exit code out.
import { run } from "./cli/run.ts";

process.exitCode = await run(process.argv.slice(2));
