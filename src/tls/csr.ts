// RFC 2986: the certificate signing request of one host name, in DER, by the few forms of X.690 that it needs.
import { type KeyObject, createPublicKey, sign } from "node:crypto";

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const ATTRIBUTES = 0xa0;
/** RFC 5280 §4.2.1.6: GeneralName [2] dNSName. */
const DNS_NAME = 0x82;

const ecdsaWithSha256 = Buffer.from("06082a8648ce3d040302", "hex");
const extensionRequest = Buffer.from("06092a864886f70d01090e", "hex");
const subjectAltName = Buffer.from("0603551d11", "hex");

/** @param key private, on the curve P-256 */
export function signingRequest(host: string, key: KeyObject): Buffer {
  const names = der(SEQUENCE, der(DNS_NAME, Buffer.from(host, "ascii")));
  const extensions = der(SEQUENCE, der(SEQUENCE, subjectAltName, der(OCTET_STRING, names)));
  const info = der(
    SEQUENCE,
    der(INTEGER, Buffer.of(0)),
    // No subject: names belong into the extension (RFC 9525 §2).
    der(SEQUENCE),
    createPublicKey(key).export({ type: "spki", format: "der" }),
    der(ATTRIBUTES, der(SEQUENCE, extensionRequest, der(SET, extensions))),
  );
  const signature = sign("sha256", info, key);
  return der(
    SEQUENCE,
    info,
    der(SEQUENCE, ecdsaWithSha256),
    der(BIT_STRING, Buffer.of(0), signature),
  );
}

/** X.690 §8.1: tag, length, content. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), lengthOf(content.length), content]);
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  return length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff);
}
