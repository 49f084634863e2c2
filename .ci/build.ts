// Builds the executable: for this machine into dist/postern; with --all, or --target for some, the release archives of every
// platform and their checksums.
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { signAdHoc } from "./macho.ts";

interface Target {
  readonly name: string;
  /** Bun's runtime inside. x64 ones are baseline: they start as fast, and run on processors without AVX2 too. */
  readonly runtime: Bun.Build.CompileTarget;
  /** The platform package of @node-rs/argon2 that the executable carries. */
  readonly addon: string;
  readonly archive: "tar.xz" | "zip";
}

const target = (
  name: string,
  runtime: Target["runtime"],
  addon: string,
  archive: Target["archive"] = "tar.xz",
): Target => ({ name, runtime, addon: `@node-rs/argon2-${addon}`, archive });

const targets: readonly Target[] = [
  target("linux-x64", "bun-linux-x64-baseline", "linux-x64-gnu"),
  target("linux-arm64", "bun-linux-arm64", "linux-arm64-gnu"),
  target("linux-x64-musl", "bun-linux-x64-baseline-musl", "linux-x64-musl"),
  target("linux-arm64-musl", "bun-linux-arm64-musl", "linux-arm64-musl"),
  target("darwin-arm64", "bun-darwin-arm64", "darwin-arm64"),
  target("darwin-x64", "bun-darwin-x64-baseline", "darwin-x64"),
  target("windows-x64", "bun-windows-x64-baseline", "win32-x64-msvc", "zip"),
];

const root = resolve(import.meta.dir, "..");

/** The executable for this machine, on the Bun that runs the build: nothing is downloaded. */
async function buildHost(out: string): Promise<void> {
  const { platform, arch } = process;
  const os = platform === "win32" ? "windows" : platform;
  // A plain install brings the addon of this machine's libc only, which tells glibc from musl.
  const host = targets.find(
    ({ name, addon }) => name.startsWith(`${os}-${arch}`) && isInstalled(addon, root),
  );
  if (!host) throw new Error(`no argon2 addon for ${os}-${arch}; run bun install first`);
  const file = await compile(host, { packages: root, outfile: join(out, executableName(host)) });
  console.log(`${file}  ${megabytes(file)}`);
}

/** The archives of some platforms, and their checksums. */
async function buildArchives(chosen: readonly Target[], out: string): Promise<void> {
  const packages = join(out, "packages");
  installAllPlatforms(packages);
  const archives: string[] = [];
  for (const each of chosen) {
    const folder = join(out, each.name);
    rmSync(folder, { recursive: true, force: true });
    const outfile = join(folder, executableName(each));
    const file = await compile(each, { runtime: each.runtime, packages, outfile });
    copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
    const archive = pack(each, folder);
    archives.push(archive);
    console.log(`${archive}  ${megabytes(archive)}, unpacked ${megabytes(file)}`);
  }
  const sums = archives.map((path) => `${sha256(path)}  ${basename(path)}\n`);
  writeFileSync(join(out, "SHA256SUMS"), sums.join(""));
}

/**
 * Compiles src/main.ts into `outfile`, with the target's addon as found from the folder `packages`.
 * @throws {Error} when the finished file lacks the addon, which would show only when a password is hashed
 */
async function compile(
  { name, addon }: Target,
  options: { runtime?: Target["runtime"]; packages: string; outfile: string },
): Promise<string> {
  const { runtime, packages, outfile } = options;
  const built = await Bun.build({
    entrypoints: [join(root, "src/main.ts")],
    minify: true,
    bytecode: true,
    // What is imported at first use (the built-in MCP server, argon2, dev) costs the start nothing.
    splitting: true,
    format: "esm",
    sourcemap: "external",
    compile: {
      outfile,
      ...(runtime && { target: runtime }),
      // Files of these names in the folder where a person happens to stand must not configure, let alone run, anything.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
    plugins: [oneAddon(addon, packages)],
  });
  // Stack traces read the source map inside the executable; the copy beside it has no use.
  for (const { kind, path } of built.outputs) if (kind === "sourcemap") rmSync(path);
  let executable: Uint8Array = readFileSync(outfile);
  if (name.startsWith("darwin")) {
    executable = signAdHoc(executable, "postern");
    writeFileSync(outfile, executable);
  }
  requireEmbedded(executable, readFileSync(Bun.resolveSync(addon, packages)), addon);
  return outfile;
}

/** Resolves the platform packages of @node-rs/argon2: the wanted one from `packages`, the others nowhere. */
function oneAddon(addon: string, packages: string): Bun.BunPlugin {
  return {
    name: "argon2 addon",
    setup(build) {
      build.onResolve({ filter: /^@node-rs\/argon2-/ }, ({ path }) =>
        path === addon || path.startsWith(`${addon}/`)
          ? { path: Bun.resolveSync(path, packages) }
          : { path, external: true },
      );
    },
  };
}

/** @throws {Error} when `executable` does not hold all bytes of `addon` */
export function requireEmbedded(executable: Uint8Array, addon: Uint8Array, name: string): void {
  if (!Buffer.from(executable.buffer, executable.byteOffset, executable.length).includes(addon))
    throw new Error(`the executable lacks its addon ${name}`);
}

/** Every platform's addon, as bun.lock has them, in a folder of its own: the checkout keeps what it has. */
function installAllPlatforms(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of ["package.json", "bun.lock"])
    copyFileSync(join(root, name), join(folder, name));
  const flags = ["--frozen-lockfile", "--production", "--ignore-scripts"];
  run([process.execPath, "install", ...flags, "--os=*", "--cpu=*", "--libc=*"], folder);
}

function isInstalled(name: string, from: string): boolean {
  try {
    return Bun.resolveSync(name, from) !== "";
  } catch {
    return false;
  }
}

/** The archive of everything in `folder`, without the folder itself: from one commit always the same bytes. */
function pack({ name, archive }: Target, folder: string): string {
  const file = join(folder, "..", `postern-${name}.${archive}`);
  rmSync(file, { force: true });
  const files = readdirSync(folder).toSorted();
  const committedAt = Number(run(["git", "log", "-1", "--format=%ct"], root));
  for (const each of files) utimesSync(join(folder, each), committedAt, committedAt);
  // xz splits its input by the number of threads being one or more, so that is fixed.
  const tar = ["tar", "--create", "--use-compress-program=xz -T2", "--owner=0", "--group=0"];
  if (archive === "zip") run(["zip", "--quiet", "-X", file, ...files], folder);
  else run([...tar, "--numeric-owner", "--file", file, ...files], folder);
  return file;
}

function run(command: string[], cwd: string): string {
  const { exitCode, stdout } = Bun.spawnSync(command, {
    cwd,
    env: { ...process.env, TZ: "UTC" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (exitCode !== 0) throw new Error(`${command.slice(0, 2).join(" ")} ended with ${exitCode}`);
  return stdout.toString().trim();
}

/** @throws {Error} with the names that there are */
function findTarget(name: string): Target {
  const found = targets.find((each) => each.name === name);
  if (found) return found;
  const names = targets.map((each) => each.name).join(", ");
  throw new Error(`there is no target ${name}; there are ${names}`);
}

const executableName = ({ archive }: Target): string =>
  archive === "zip" ? "postern.exe" : "postern";

const sha256 = (path: string): string =>
  new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

const megabytes = (path: string): string => `${(statSync(path).size / 1e6).toFixed(1)} MB`;

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      all: { type: "boolean" },
      target: { type: "string", multiple: true },
      out: { type: "string", default: join(root, "dist") },
    },
  });
  const out = resolve(values.out);
  const named = values.target?.map(findTarget);
  const chosen = values.all ? targets : named;
  await (chosen ? buildArchives(chosen, out) : buildHost(out));
}
