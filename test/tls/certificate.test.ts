// What of a pair of files is told to the owner: the wrong ones by what is wrong, the right ones by what they lack.
import { afterAll, describe, expect } from "bun:test";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { type Certificate, expiryDoubt, readCertificate } from "../../src/tls/certificate.ts";
import { needs } from "../needs.ts";
import { temporaryFolder } from "../server.ts";
import { type Pair, makePair, openssl, textOf } from "./pairs.ts";

const test = needs("openssl");
const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

function problem(pair: Pair): string {
  try {
    readCertificate(pair, "localhost");
  } catch (error) {
    if (error instanceof FatalError && error.exitCode === 2) return error.message;
    throw error;
  }
  return "none";
}

describe("a pair that cannot be used", () => {
  test("says which file and why", () => {
    const one = makePair(folder, "one");
    const two = makePair(folder, "two");
    const issuer = makePair(folder, "issuer");
    const issued = makePair(folder, "issued", { issuer });
    const locked = join(folder, "locked.key");
    openssl(..."pkey -aes256 -passout pass:secret -in".split(" "), one.tlsKey, "-out", locked);
    const upsideDown = textOf(issuer.tlsCert) + textOf(issued.tlsCert);
    const cases: [pair: Pair, problem: string][] = [
      [{ ...one, tlsCert: "/nowhere/cert.pem" }, "cannot read the certificate file: ENOENT"],
      [{ ...one, tlsKey: folder }, "cannot read the key file: EISDIR"],
      [{ ...one, tlsKey: two.tlsKey }, "the key belongs to another certificate"],
      [{ tlsCert: one.tlsKey, tlsKey: one.tlsCert }, "there is no certificate in the first"],
      [{ ...one, tlsKey: one.tlsCert }, "there is no private key in the second"],
      [{ ...one, tlsKey: locked }, "the key has a passphrase; take it off with: openssl pkey"],
      [{ ...one, tlsCert: file("empty", "") }, "there is no certificate in the first"],
      [{ ...one, tlsKey: file("half", textOf(one.tlsKey).slice(0, 80)) }, "no private key"],
      [
        {
          ...one,
          tlsCert: file("cut", textOf(one.tlsCert).replace(/[\s\S]{200}(?=-----END)/, "")),
        },
        "a certificate in the first is damaged",
      ],
      [
        { ...issued, tlsCert: file("upside-down", upsideDown) },
        "the server's own certificate must come first",
      ],
    ];
    for (const [pair, expected] of cases) expect(problem(pair)).toContain(expected);
    for (const [pair] of cases)
      expect(problem(pair)).not.toContain(textOf(one.tlsKey).slice(40, 80));
  });
});

describe("a pair that can be used", () => {
  test("is told by its times, and has no doubts when there are none", () => {
    const issuer = makePair(folder, "root");
    const pair = makePair(folder, "leaf", { issuer, hosts: ["localhost", "127.0.0.1"], days: 30 });
    const full = file("full", textOf(pair.tlsCert) + textOf(issuer.tlsCert));
    const { issuedAt, expiresAt, doubts } = readCertificate(
      { ...pair, tlsCert: full },
      "localhost",
    );
    expect(expiresAt - issuedAt).toBe(30 * 86_400);
    expect(Math.abs(issuedAt - Date.now() / 1000)).toBeLessThan(60);
    expect(doubts).toEqual([]);
  });

  test("says when others can read its key", () => {
    const pair = makePair(folder, "open");
    chmodSync(pair.tlsKey, 0o644);
    expect(readCertificate(pair, "localhost").doubts).toEqual([
      `other users can read its key; chmod 600 ${pair.tlsKey}`,
    ]);
  });

  test("says for whom it is not, and that its issuer is missing", () => {
    const issuer = makePair(folder, "other-root");
    const pair = makePair(folder, "other", { issuer, hosts: ["a.example"] });
    expect(readCertificate(pair, "b.example").doubts).toEqual([
      "it is not for b.example",
      "the certificates of its issuer are missing; use the full chain",
    ]);
    expect(
      readCertificate(makePair(folder, "wild", { hosts: ["*.b.example"] }), "x.b.example").doubts,
    ).toEqual([]);
  });
});

describe("the time that is left", () => {
  const days = (lifetime: number, left: number): string => {
    const certificate: Certificate = {
      chain: "",
      key: "",
      issuedAt: 0,
      expiresAt: lifetime * 86_400,
      doubts: [],
    };
    return (expiryDoubt(certificate, (lifetime - left) * 86_400) ?? "").replace(
      /,? (at .*|before .*)/,
      "",
    );
  };

  test.each([
    [90, 90, ""],
    [90, 18.1, ""],
    [90, 18, "it expires in 18 days"],
    [365, 21.1, ""],
    [365, 21, "it expires in 21 days"],
    [6, 2, ""],
    [6, 1.2, "it expires in 2 days"],
    [90, 0, "it expired"],
    [90, -3, "it expired"],
    [90, 91, "it is not valid"],
  ])("of %p days %p: %p", (lifetime, left, doubt) => {
    expect(days(lifetime, left)).toBe(doubt);
  });
});
