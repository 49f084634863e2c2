// Which IP addresses are on the public internet: RFC 6890 and its registries, turned round. Whatever is not plainly
// public is not.
import { isIP } from "node:net";

// prettier-ignore
const special4: readonly [network: string, bits: number][] = [
  ["0.0.0.0", 8], ["10.0.0.0", 8], ["100.64.0.0", 10], ["127.0.0.0", 8], ["169.254.0.0", 16], ["172.16.0.0", 12],
  ["192.0.0.0", 24], ["192.0.2.0", 24], ["192.31.196.0", 24], ["192.52.193.0", 24], ["192.88.99.0", 24],
  ["192.168.0.0", 16], ["192.175.48.0", 24], ["198.18.0.0", 15], ["198.51.100.0", 24], ["203.0.113.0", 24],
  ["224.0.0.0", 4], ["240.0.0.0", 4],
];

const number4 = (address: string): number =>
  address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

function isPublic4(address: string): boolean {
  const value = number4(address);
  return !special4.some(([network, bits]) => {
    const size = 2 ** (32 - bits);
    return Math.floor(value / size) === Math.floor(number4(network) / size);
  });
}

/** The eight 16-bit groups of an IPv6 address, a dotted tail included. */
function groups6(address: string): number[] {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const tail = number4(dotted?.[2] ?? "0.0.0.0");
  const text = dotted
    ? `${dotted[1]}${Math.floor(tail / 65_536).toString(16)}:${(tail % 65_536).toString(16)}`
    : address;
  const [head = "", rest] = text.split("::");
  const left = head.split(":").filter(Boolean);
  const right = (rest ?? "").split(":").filter(Boolean);
  const gap = Array<string>(Math.max(0, 8 - left.length - right.length)).fill("0");
  return [...left, ...gap, ...right].map((group) => Number.parseInt(group, 16));
}

function isPublic6(address: string): boolean {
  const [first = 0, second = 0] = groups6(address);
  // Only 2000::/3 is global unicast; the mapped, translated, local and multicast forms all lie outside of it.
  if (first < 0x2000 || first > 0x3fff) return false;
  // 2001::/23 (Teredo, benchmarking, ORCHID), 2001:db8::/32, 2002::/16 (6to4 of any IPv4), 3fff::/20, 2620:4f:8000::/48.
  if (first === 0x2001 && (second < 0x200 || second === 0xdb8)) return false;
  if (first === 0x2002 || (first === 0x3fff && second < 0x1000)) return false;
  return !(first === 0x2620 && second === 0x4f);
}

/** Whether an address can be dialled on behalf of a stranger. */
export function isPublicAddress(address: string): boolean {
  const kind = isIP(address);
  if (kind === 4) return isPublic4(address);
  return kind === 6 && !address.includes("%") && isPublic6(address);
}
