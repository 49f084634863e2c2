// deploy/install.sh with small archives of its own: what it picks, what it refuses, and that it puts in place all or
// nothing.
import { afterAll, describe, expect } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { needs } from "../needs.ts";

const test = needs("linux", "xz");
const root = mkdtempSync(join(tmpdir(), "postern-install-"));
const servers: ReturnType<typeof Bun.serve>[] = [];
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop(true)));
  rmSync(root, { recursive: true });
});

const script = resolve(import.meta.dir, "../../deploy/install.sh");
const sha256 = (path: string): string =>
  new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

/** Every archive that the build makes; it names them when it is asked for one that there is not. */
const platforms = (): string[] => {
  const build = resolve(import.meta.dir, "../../.ci/build.ts");
  const { stderr } = Bun.spawnSync([process.execPath, build, "--target", "none"]);
  return stderr.toString().match(/\b(?:linux|darwin|windows)-[a-z0-9-]+/g) ?? [];
};

interface Release {
  readonly folder: string;
  /** Name of the archive of this test's platform, linux-x64. */
  readonly archive: string;
  /** Writes SHA256SUMS of what is there. */
  seal(): void;
}

let count = 0;
const freshFolder = (): string => {
  const folder = join(root, String(++count));
  mkdirSync(folder);
  return folder;
};

function release(program = '#!/bin/sh\necho "postern 9.9.9"\n'): Release {
  const folder = freshFolder();
  const archive = "postern-linux-x64.tar.xz";
  const inside = freshFolder();
  writeFileSync(join(inside, "postern"), program);
  chmodSync(join(inside, "postern"), 0o755);
  writeFileSync(join(inside, "LICENSE"), "MIT");
  Bun.spawnSync(["tar", "-cJf", join(folder, archive), "LICENSE", "postern"], { cwd: inside });
  const seal = (): void => {
    const names = readdirSync(folder).filter((name) => name.startsWith("postern-"));
    const lines = names.map((name) => `${sha256(join(folder, name))}  ${name}\n`);
    writeFileSync(join(folder, "SHA256SUMS"), lines.join(""));
  };
  seal();
  return { folder, archive, seal };
}

interface Machine {
  readonly system?: string;
  readonly processor?: string;
  readonly libc?: string;
  /** Commands that it lacks. */
  readonly without?: readonly string[];
  readonly shell?: readonly string[];
}

const tools =
  "sh awk cat chmod cp curl wget cut dirname grep mkdir mktemp mv rm sha256sum tar xz printf env sleep".split(
    " ",
  );

/** Runs the script on a machine that has these commands alone. */
async function install(machine: Machine, ...words: string[]) {
  const commands = freshFolder();
  const write = (name: string, text: string): void => {
    writeFileSync(join(commands, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(commands, name), 0o755);
  };
  for (const name of tools) {
    const path = Bun.which(name);
    if (path !== null && !machine.without?.includes(name)) write(name, `exec ${path} "$@"`);
  }
  const { system = "Linux", processor = "x86_64", libc = "ldd (Debian GLIBC 2.36) 2.36" } = machine;
  write("uname", `[ "$1" = -m ] && echo ${processor} || echo ${system}`);
  write("ldd", `echo "${libc}" >&2; exit 1`);
  write("sysctl", "exit 1");
  const home = freshFolder();
  const child = Bun.spawn([...(machine.shell ?? ["/bin/sh"]), script, ...words], {
    env: { PATH: commands, HOME: home, TMPDIR: freshFolder() },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [exitCode, stdout, stderr] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { exitCode, stdout, stderr, home };
}

/** What a folder has after an installation, hidden names too. */
const names = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

describe("the archive of this platform", () => {
  test("is one that the build makes, and every one of them but Windows' is somebody's", async () => {
    const empty = freshFolder();
    writeFileSync(join(empty, "SHA256SUMS"), "");
    const musl = "musl libc (x86_64)";
    const machines: Machine[] = ["x86_64", "aarch64"].flatMap((processor) => [
      { processor },
      { processor, libc: musl },
      { processor: processor.replace("aarch64", "arm64"), system: "Darwin" },
    ]);
    const picked = await Promise.all(
      machines.map(async (machine) => {
        const { stderr } = await install(machine, empty);
        return /no checksum of postern-(\S+)\.tar\.xz/.exec(stderr)?.[1];
      }),
    );
    const made = platforms().filter((name) => !name.startsWith("windows"));
    expect(picked.toSorted()).toEqual(made.toSorted());
  });

  test("is told when there is none", async () => {
    const { folder } = release();
    const odd = await install({ processor: "riscv64" }, folder);
    expect([odd.exitCode, odd.stderr]).toEqual([
      1,
      expect.stringContaining("the processor riscv64"),
    ]);
    const windows = await install({ system: "MINGW64_NT-10.0" }, folder);
    expect(windows.stderr).toContain("postern: hint: on Windows unpack postern-windows-x64.zip");
  });
});

describe("an installation", () => {
  test("from the web, with curl or wget, puts the program in place and says where", async () => {
    const { folder } = release();
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => new Response(Bun.file(join(folder, new URL(request.url).pathname))),
    });
    servers.push(server);
    for (const missing of ["curl", "wget"]) {
      if (Bun.which(missing === "curl" ? "wget" : "curl") === null) continue;
      const to = join(freshFolder(), "bin");
      const { exitCode, stdout, stderr } = await install(
        { without: [missing] },
        server.url.href,
        "--to",
        to,
      );
      expect([exitCode, stderr]).toEqual([0, ""]);
      expect(stdout).toBe(
        `postern: postern 9.9.9 is in ${to}\npostern: ${to} is not on your PATH: export PATH="${to}:$PATH"\n`,
      );
      expect(names(to)).toEqual(["postern"]);
      expect(statSync(join(to, "postern")).mode & 0o777).toBe(0o755);
    }
  });

  test("works in every shell that there is", async () => {
    const { folder } = release();
    const shells = [["/bin/sh"], ["dash"], ["bash", "--posix"], ["busybox", "sh"]];
    for (const [name = "", ...rest] of shells) {
      const path = Bun.which(name);
      if (path === null) continue;
      const to = freshFolder();
      const { exitCode, stderr } = await install({ shell: [path, ...rest] }, folder, "--to", to);
      expect([name, exitCode, stderr, names(to)]).toEqual([name, 0, "", ["postern"]]);
    }
  });

  test("over an old one replaces it in one step, while that runs", async () => {
    const to = freshFolder();
    const old = join(to, "postern");
    writeFileSync(old, "#!/bin/sh\nsleep 60\n");
    chmodSync(old, 0o755);
    const before = statSync(old).ino;
    const { exitCode } = await install({}, release().folder, "--to", to);
    expect(exitCode).toBe(0);
    expect(statSync(old).ino).not.toBe(before);
    expect(Bun.spawnSync([old]).stdout.toString()).toBe("postern 9.9.9\n");
  });
});

describe("nothing is changed and nothing is left behind", () => {
  const refused = async (
    made: Release,
    machine: Machine = {},
    ...words: string[]
  ): Promise<string> => {
    const to = freshFolder();
    writeFileSync(join(to, "postern"), "the old one");
    const { exitCode, stdout, stderr } = await install(machine, made.folder, "--to", to, ...words);
    expect([exitCode, stdout, names(to)]).toEqual([1, "", ["postern"]]);
    expect(readFileSync(join(to, "postern"), "utf8")).toBe("the old one");
    return stderr;
  };

  test("when the archive is another one than SHA256SUMS says", async () => {
    const made = release();
    const path = join(made.folder, made.archive);
    const bytes = readFileSync(path);
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    expect(await refused(made)).toContain(
      "postern-linux-x64.tar.xz is not what it should be: its SHA-256 is",
    );
  });

  test("when the archive was cut off", async () => {
    const made = release();
    const path = join(made.folder, made.archive);
    writeFileSync(path, readFileSync(path).subarray(0, 100));
    expect(await refused(made)).toContain("is not what it should be");
  });

  test("when SHA256SUMS is another one than --sums says, or is missing, or lists something like it", async () => {
    const made = release();
    expect(await refused(made, {}, "--sums", "0".repeat(64))).toContain(
      "SHA256SUMS is not what it should be",
    );
    const sums = join(made.folder, "SHA256SUMS");
    const sum = readFileSync(sums, "utf8").slice(0, 64);
    for (const text of [
      "",
      `${sum}  xpostern-linux-x64.tar.xz\n`,
      `${sum.slice(1)}  ${made.archive}\n`,
      `${sum}  ${made.archive}\n`.repeat(2),
    ]) {
      writeFileSync(sums, text);
      expect(await refused(made)).toContain(`SHA256SUMS has no checksum of ${made.archive}`);
    }
    rmSync(sums);
    expect(await refused(made)).toContain(`cannot read ${made.folder}/SHA256SUMS`);
  });

  test("when there is no archive, or nothing can unpack or check it", async () => {
    const made = release();
    expect(await refused(made, { without: ["xz"] })).toContain("xz is missing");
    expect(await refused(made, { without: ["sha256sum"] })).toContain(
      "nothing here can check a SHA-256",
    );
    rmSync(join(made.folder, made.archive));
    expect(await refused(made)).toContain(`cannot read ${made.folder}/${made.archive}`);
  });

  test("when the program does not run here", async () => {
    expect(await refused(release("#!/bin/sh\nexit 127\n"))).toContain("does not run here");
  });

  test("when the web server has nothing, or only a page that says so", async () => {
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => new Response("<html>", { status: 404 }),
    });
    servers.push(server);
    const to = freshFolder();
    const { exitCode, stderr } = await install({}, server.url.href, "--to", to);
    expect([exitCode, names(to)]).toEqual([1, []]);
    expect(stderr).toContain("SHA256SUMS");
  });

  test("when it was cut off on its own way here", () => {
    const text = readFileSync(script, "utf8");
    const cut = join(freshFolder(), "cut.sh");
    writeFileSync(cut, text.slice(0, text.lastIndexOf("main")));
    const to = freshFolder();
    const { stdout } = Bun.spawnSync(["sh", cut, release().folder, "--to", to]);
    expect([stdout.toString(), names(to)]).toEqual(["", []]);
  });
});
