// Archives by hand, hostile ones too.
import { gzipSync } from "node:zlib";

/** One entry of a tar by hand. */
export interface Entry {
  readonly path: string;
  readonly content?: string;
  readonly type?: string;
  /** As it stands in the header, when it is not that of the content. */
  readonly size?: string;
  readonly linkTo?: string;
}

export function tarBlocks({ path, content = "", type = "0", size, linkTo = "" }: Entry): Buffer {
  const block = Buffer.alloc(512);
  block.write(path, 0, 100);
  block.write("0000600\0" + "0000000\0" + "0000000\0", 100);
  block.write(size ?? content.length.toString(8).padStart(11, "0"), 124, "latin1");
  block.write("00000000000\0" + " ".repeat(8) + type, 136);
  block.write(linkTo, 157, 100);
  block.write("ustar\0" + "00", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([
    block,
    Buffer.from(content),
    Buffer.alloc((512 - (content.length % 512)) % 512),
  ]);
}

export const archive = (...entries: readonly Entry[]): Buffer =>
  gzipSync(Buffer.concat([...entries.map(tarBlocks), Buffer.alloc(1024)]));
