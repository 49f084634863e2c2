// The ad-hoc code signature of a Mach-O executable (Apple's mach-o/loader.h and kern/cs_blobs.h). Owns the signature; the rest of the file stays as it is.
import { createHash } from "node:crypto";

const machoMagic64 = 0xfeedfacf;
const commandSegment64 = 0x19;
const commandCodeSignature = 0x1d;
const magicSuperBlob = 0xfade0cc0;
const magicCodeDirectory = 0xfade0c02;
/** CS_ADHOC | CS_LINKER_SIGNED: no certificate, no hardened runtime. */
const flagsAdHoc = 0x20002;
const pageShift = 12;
const pageSize = 1 << pageShift;
const superBlobSize = 20;
const directorySize = 88;
const hashSize = 32;

interface Layout {
  readonly signatureCommand: number;
  readonly linkeditCommand: number;
  readonly signatureStart: number;
  readonly textStart: number;
  readonly textSize: number;
}

/**
 * The executable with a signature over all its bytes, in place of the one it carries. macOS kills a program whose
 * signature does not match, and a compiler that adds a payload to a signed runtime leaves just that.
 * @throws {Error} when the file is no 64-bit Mach-O with a signature at its end
 */
export function signAdHoc(executable: Uint8Array, identifier: string): Uint8Array {
  const layout = findLayout(
    Buffer.from(executable.buffer, executable.byteOffset, executable.length),
  );
  const slots = Math.ceil(layout.signatureStart / pageSize);
  const identity = Buffer.from(`${identifier}\0`);
  const length = superBlobSize + directorySize + identity.length + slots * hashSize;
  const signed = Buffer.alloc(layout.signatureStart + length);
  signed.set(executable.subarray(0, layout.signatureStart));
  announceSize(signed, layout, length);
  signed.set(codeDirectory(signed, layout, identity, slots), layout.signatureStart);
  return signed;
}

function findLayout(file: Buffer): Layout {
  if (file.length < 32 || file.readUInt32LE(0) !== machoMagic64)
    throw new Error("not a 64-bit Mach-O executable");
  const found: Partial<Record<"signature" | "__LINKEDIT" | "__TEXT", number>> = {};
  let command = 32;
  for (let left = file.readUInt32LE(16); left > 0; left--) {
    const kind = file.readUInt32LE(command);
    const name = file.toString("latin1", command + 8, command + 24).replace(/\0+$/, "");
    if (kind === commandCodeSignature) found.signature = command;
    if (kind === commandSegment64 && (name === "__LINKEDIT" || name === "__TEXT"))
      found[name] = command;
    command += file.readUInt32LE(command + 4);
  }
  const { signature, __LINKEDIT: linkedit, __TEXT: text } = found;
  if (signature === undefined || linkedit === undefined || text === undefined)
    throw new Error("the executable has no place for a signature");
  const signatureStart = file.readUInt32LE(signature + 8);
  if (signatureStart + file.readUInt32LE(signature + 12) !== file.length)
    throw new Error("the signature is not at the end of the executable");
  return {
    signatureCommand: signature,
    linkeditCommand: linkedit,
    signatureStart,
    textStart: Number(file.readBigUInt64LE(text + 40)),
    textSize: Number(file.readBigUInt64LE(text + 48)),
  };
}

/** The load commands name the new size; they are themselves part of what is hashed, so they come first. */
function announceSize(file: Buffer, layout: Layout, length: number): void {
  file.writeUInt32LE(length, layout.signatureCommand + 12);
  const segment = layout.linkeditCommand;
  const fileSize = BigInt(file.length) - file.readBigUInt64LE(segment + 40);
  file.writeBigUInt64LE(fileSize, segment + 48);
  const memorySize = file.readBigUInt64LE(segment + 32);
  const largestPage = 0x4000n;
  const wholePages = ((fileSize + largestPage - 1n) / largestPage) * largestPage;
  if (memorySize < fileSize) file.writeBigUInt64LE(wholePages, segment + 32);
}

function codeDirectory(file: Buffer, layout: Layout, identity: Buffer, slots: number): Buffer {
  const { signatureStart, textStart, textSize } = layout;
  const hashOffset = directorySize + identity.length;
  const blob = Buffer.alloc(superBlobSize + hashOffset + slots * hashSize);
  const directory = blob.subarray(superBlobSize);
  // One blob in the index: slot 0, the code directory, right behind the index.
  [magicSuperBlob, blob.length, 1, 0, superBlobSize].forEach((value, index) =>
    blob.writeUInt32BE(value, index * 4),
  );
  const version = 0x20400;
  [magicCodeDirectory, directory.length, version, flagsAdHoc, hashOffset, directorySize].forEach(
    (value, index) => directory.writeUInt32BE(value, index * 4),
  );
  directory.writeUInt32BE(slots, 28);
  directory.writeUInt32BE(signatureStart, 32);
  const hashSha256 = 2;
  directory.set([hashSize, hashSha256, 0, pageShift], 36);
  const mainBinary = 1n;
  directory.writeBigUInt64BE(BigInt(textStart), 64);
  directory.writeBigUInt64BE(BigInt(textSize), 72);
  directory.writeBigUInt64BE(mainBinary, 80);
  directory.set(identity, directorySize);
  for (let slot = 0; slot < slots; slot++) {
    const end = Math.min((slot + 1) * pageSize, signatureStart);
    const page = file.subarray(slot * pageSize, end);
    directory.set(createHash("sha256").update(page).digest(), hashOffset + slot * hashSize);
  }
  return blob;
}
