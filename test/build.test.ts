// What the build checks and repairs in finished executables, on small ones made here.
import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { needs } from "./needs.ts";
import { requireEmbedded } from "../.ci/build.ts";
import { signAdHoc } from "../.ci/macho.ts";

describe("an executable must carry its addon", () => {
  const addon = Buffer.from("native code of one platform");

  test("all bytes of it are there: accepted", () => {
    expect(() =>
      requireEmbedded(Buffer.concat([Buffer.from("runtime"), addon]), addon, "a"),
    ).not.toThrow();
  });

  test("the addon's name alone, or half of it, is refused by name", () => {
    for (const content of ["runtime", "runtime argon2-linux", "runtime native code of one pl"]) {
      expect(() => requireEmbedded(Buffer.from(content), addon, "argon2-linux")).toThrow(
        "the executable lacks its addon argon2-linux",
      );
    }
  });
});

describe("Mach-O signature", () => {
  test("every page has its SHA-256 in the code directory, the header with the new sizes too", () => {
    const signed = Buffer.from(signAdHoc(machO({ payload: 9000 }), "postern"));
    const { start, length, linkedit } = readLayout(signed);
    expect(start + length).toBe(signed.length);
    expect(linkedit).toBe(signed.length);
    expect(signed.readUInt32BE(start)).toBe(0xfade0cc0);
    const directory = signed.subarray(start + signed.readUInt32BE(start + 16));
    expect(directory.readUInt32BE(0)).toBe(0xfade0c02);
    expect(directory.readUInt32BE(32)).toBe(start);
    expect(directory.readUInt32BE(28)).toBe(3);
    expect(directory.toString("latin1", 88, 96)).toBe("postern\0");
    for (let slot = 0; slot < 3; slot++) {
      const page = signed.subarray(slot * 4096, Math.min((slot + 1) * 4096, start));
      const hashed = directory.subarray(directory.readUInt32BE(16) + slot * 32).subarray(0, 32);
      expect(hashed.toString("hex")).toBe(createHash("sha256").update(page).digest("hex"));
    }
  });

  test("program and payload stay as they are, and signing twice changes nothing", () => {
    const unsigned = machO({ payload: 9000 });
    const signed = signAdHoc(unsigned, "postern");
    const kept = signed.subarray(256, 9000);
    expect(Buffer.compare(kept, unsigned.subarray(256, 9000))).toBe(0);
    expect(signAdHoc(signed, "postern")).toEqual(signed);
  });

  test("what is no Mach-O, or has bytes behind its signature, is refused", () => {
    expect(() => signAdHoc(Buffer.from("\x7fELF".padEnd(64, "\0")), "postern")).toThrow("Mach-O");
    const longer = Buffer.concat([machO({ payload: 9000 }), Buffer.from("more")]);
    expect(() => signAdHoc(longer, "postern")).toThrow("not at the end");
  });
});

describe("archives", () => {
  const out = mkdtempSync(join(tmpdir(), "postern-build-"));
  afterAll(() => rmSync(out, { recursive: true }));
  const script = join(import.meta.dir, "../.ci/build.ts");
  const build = (...flags: string[]) =>
    Bun.spawnSync([process.execPath, script, "--out", out, ...flags], {
      // Small archives are not the point here.
      env: { ...process.env, XZ_OPT: "-0", ZIPOPT: "-0" },
      stdio: ["ignore", "pipe", "pipe"],
    });
  const contentOf = (archive: string): string => {
    const list = archive.endsWith(".zip") ? ["unzip", "-Z1"] : ["tar", "--list", "--file"];
    return Bun.spawnSync([...list, join(out, archive)]).stdout.toString();
  };

  needs("zip", "xz")(
    "of other platforms: named, packed and listed with their checksums",
    () => {
      const { exitCode, stderr } = build("--target", "windows-x64", "--target", "darwin-arm64");
      // The first build for a platform fetches Bun's runtime for it, and counts the bytes.
      const said = stderr.toString().split("\n");
      const complaints = said.filter((line) => !/^(Downloading \[\d+\] ?)?$/.test(line.trimEnd()));
      expect([exitCode, complaints]).toEqual([0, []]);
      const sums = readFileSync(join(out, "SHA256SUMS"), "utf8").trim().split("\n");
      expect(sums.map((line) => line.split("  ")[1])).toEqual([
        "postern-windows-x64.zip",
        "postern-darwin-arm64.tar.xz",
      ]);
      for (const line of sums) {
        const [sum, name = ""] = line.split("  ");
        const content = readFileSync(join(out, name));
        expect(createHash("sha256").update(content).digest("hex")).toBe(sum ?? "");
      }
      expect(contentOf("postern-windows-x64.zip").split("\n")).toContain("postern.exe");
      expect(contentOf("postern-darwin-arm64.tar.xz").split("\n")).toContain("postern");
      const magic = (path: string): string => readFileSync(join(out, path)).toString("hex", 0, 4);
      expect(magic("windows-x64/postern.exe")).toStartWith("4d5a");
      expect(magic("darwin-arm64/postern")).toBe("cffaedfe");
    },
    240_000,
  );

  test("a platform that there is not is refused with the names that there are", () => {
    const { exitCode, stderr } = build("--target", "amiga");
    expect(exitCode).toBe(1);
    const text = stderr.toString();
    expect(text).toContain("there is no target amiga");
    for (const name of ["linux-x64", "linux-arm64-musl", "darwin-x64", "windows-x64"])
      expect(text).toContain(name);
  });
});

/** The least that carries a signature: __TEXT, __LINKEDIT and LC_CODE_SIGNATURE, then `payload` bytes, then a stale signature. */
function machO({ payload }: { payload: number }): Buffer {
  const stale = 100;
  const file = Buffer.alloc(payload + stale, 0xab);
  file.fill(0, 0, 192);
  file.writeUInt32LE(0xfeedfacf, 0);
  file.writeUInt32LE(3, 16);
  const segment = (at: number, name: string, size: number): void => {
    file.writeUInt32LE(0x19, at);
    file.writeUInt32LE(72, at + 4);
    file.write(name, at + 8, "latin1");
    file.writeBigUInt64LE(BigInt(size), at + 32);
    file.writeBigUInt64LE(BigInt(size), at + 48);
  };
  segment(32, "__TEXT", payload);
  segment(104, "__LINKEDIT", payload + stale);
  [0x1d, 16, payload, stale].forEach((value, index) => file.writeUInt32LE(value, 176 + index * 4));
  return file;
}

function readLayout(file: Buffer): { start: number; length: number; linkedit: number } {
  return {
    start: file.readUInt32LE(184),
    length: file.readUInt32LE(188),
    linkedit: Number(file.readBigUInt64LE(104 + 48)),
  };
}
