// The other files of deploy/: that they agree with the program, with docs/deploy.md and with who will read them.
import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { engines } from "../../package.json";
import { envName, settingKeys, settings } from "../../src/settings.ts";
import { needs } from "../needs.ts";

const folder = resolve(import.meta.dir, "../../deploy");
const files = readdirSync(folder);
const text = (file: string): string => readFileSync(join(folder, file), "utf8");

describe.each(files)("%s", (file) => {
  test("names only variables and flags that the program has", () => {
    const variables = [...text(file).matchAll(/\bPOSTERN_[A-Z_]+/g)].map(([name]) => name);
    const known = settingKeys.map(envName);
    expect(variables.filter((name) => !known.includes(name))).toEqual([]);
    const flags = [
      ...text(file).matchAll(/(?:with: postern|postern grants|bin\/postern) --([a-z-]+)/g),
    ].map(([, flag = ""]) => flag);
    const allFlags = settingKeys.map((key) => settings[key].flag);
    expect(flags.filter((flag) => !allFlags.includes(flag))).toEqual([]);
  });

  test("is explained in docs/deploy.md", () => {
    const guide = readFileSync(join(folder, "../docs/deploy.md"), "utf8");
    expect(guide).toContain(`(../deploy/${file.replace(/\.dockerignore$/, "")})`);
  });
});

describe("the systemd unit", () => {
  const unit = (change: (text: string) => string = (same) => same): string => {
    const made = mkdtempSync(join(tmpdir(), "postern-unit-"));
    const path = join(made, "postern.service");
    // The program need not be installed for the unit to be right.
    writeFileSync(
      path,
      change(text("postern.service").replaceAll("/usr/local/bin/postern", "/bin/true")),
    );
    return path;
  };
  const analyze = (path: string, ...words: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync(["systemd-analyze", ...words, path]);
    rmSync(join(path, ".."), { recursive: true });
    return { exitCode, said: stdout.toString() + stderr.toString() };
  };

  needs("systemd")("has nothing that systemd does not know", () => {
    expect(analyze(unit(), "verify")).toEqual({ exitCode: 0, said: "" });
    expect(
      analyze(
        unit((good) => good.replace("UMask", "Umask")),
        "verify",
      ).said,
    ).toContain("Umask");
  });

  needs("systemd")("leaves the program little of the machine", () => {
    const measure = ["security", "--offline=true", "--threshold=15"];
    expect(analyze(unit(), ...measure).exitCode).toBe(0);
    const open = unit((closed) => closed.replace("ProtectSystem=strict", ""));
    expect(analyze(open, ...measure).exitCode).not.toBe(0);
  });

  test("starts again after a crash, and not after a refusal that would be the same", () => {
    expect(text("postern.service")).toContain("\nRestartPreventExitStatus=2 77 78\n");
    expect(text("postern.service")).toContain("\nExecReload=/bin/kill -HUP $MAINPID\n");
  });
});

describe("the container file", () => {
  const containerfile = text("Containerfile");

  test("builds with the project's Bun, from files that the build context has", () => {
    expect(containerfile).toContain(`FROM oven/bun:${engines.bun.replace(">=", "")}-`);
    const taken = text("Containerfile.dockerignore")
      .match(/^!.*/gm)
      ?.map((line) => line.slice(1));
    const listed = Bun.spawnSync(["git", "ls-files", ...(taken ?? [])], {
      cwd: join(folder, ".."),
    });
    for (const path of taken ?? []) expect(listed.stdout.toString()).toContain(path);
    expect(taken).not.toContain("data");
  });

  test("ends as a user that is not root, with the volume as the only thing to write", () => {
    const last = containerfile.slice(containerfile.lastIndexOf("\nFROM "));
    expect(last).toMatch(/\nUSER 10001:10001\nENTRYPOINT \["postern"\]\n$/);
    expect(containerfile).toContain("\nVOLUME /data\n");
    expect(containerfile).toContain("POSTERN_DATA=/data");
  });
});

test("cloudflared.yml and fly.toml can be read, and lead to the port that Postern has", () => {
  const tunnel = Bun.YAML.parse(text("cloudflared.yml")) as { ingress: { service: string }[] };
  expect(tunnel.ingress.map(({ service }) => service)).toEqual([
    `http://127.0.0.1:${settings.port.fallback}`,
    "http_status:404",
  ]);
  const fly = Bun.TOML.parse(text("fly.toml")) as Record<string, Record<string, unknown>>;
  expect(fly["http_service"]).toMatchObject({ internal_port: Number(settings.port.fallback) });
  expect(fly["mounts"]).toMatchObject({ destination: "/data" });
  expect(text("Containerfile")).toContain(`AS ${String(fly["build"]?.["build-target"])}\n`);
});

needs("shellcheck")("install.sh is plain sh", () => {
  const { exitCode, stdout } = Bun.spawnSync([
    "shellcheck",
    "--shell=sh",
    join(folder, "install.sh"),
  ]);
  expect([exitCode, stdout.toString()]).toEqual([0, ""]);
});
