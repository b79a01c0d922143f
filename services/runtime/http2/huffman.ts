// HPACK's Huffman code (RFC 7541 section 5.2 and appendix B), read four bits at a time. The code is canonical: the lengths of its
// words say everything, words of one length count upwards in the order of their symbols.

/** Bits of the word of each octet. */
// biome-ignore format: a table
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST = 30;

type Node = { children: [Node | undefined, Node | undefined]; symbol: number };
const newNode = (): Node => ({ children: [undefined, undefined], symbol: -1 });

function buildTree(): Node {
  const root = newNode();
  let word = 0;
  for (let length = 1; length <= LONGEST; length++) {
    for (const [symbol, itsLength] of LENGTHS.entries()) {
      if (itsLength !== length) continue;
      let node = root;
      for (let bit = length - 1; bit >= 0; bit--) {
        const side = ((word >>> bit) & 1) as 0 | 1;
        node.children[side] ??= newNode();
        node = node.children[side] as Node;
      }
      node.symbol = symbol;
      word++;
    }
    word *= 2;
  }
  return root;
}

const FAILED = 0xffff;
/** By state * 16 + nibble: the next state, and the octet that is complete with it or -1 (no word is shorter than a nibble). */
const nextStates: number[] = [];
const octets: number[] = [];
/** States in which a text may end: at a word's end, or within padding of at most seven ones. */
const mayEnd: boolean[] = [];

function buildStates(): void {
  const nodes = [buildTree()];
  const indexes = new Map(nodes.map((node, index) => [node, index]));
  const root = nodes[0] as Node;
  for (let state = 0; state < nodes.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++) {
      let node: Node | undefined = nodes[state];
      let octet = -1;
      for (let bit = 3; bit >= 0 && node !== undefined; bit--) {
        node = node.children[((nibble >>> bit) & 1) as 0 | 1];
        if (node === undefined || node.symbol === -1) continue;
        octet = node.symbol;
        node = root;
      }
      let next = node === undefined ? FAILED : indexes.get(node);
      if (next === undefined) {
        next = nodes.push(node as Node) - 1;
        indexes.set(node as Node, next);
      }
      nextStates.push(next);
      octets.push(octet);
    }
  }
  let padding: Node | undefined = root;
  for (let bits = 0; bits <= 7 && padding !== undefined; bits++) {
    const state = indexes.get(padding);
    if (state !== undefined) mayEnd[state] = true;
    padding = padding.children[1];
  }
}
buildStates();

const NEXT = Uint16Array.from(nextStates);
const OCTETS = Int16Array.from(octets);

/** A word has at least five bits. */
const mostOctets = (codedBytes: number): number => Math.floor((codedBytes * 8) / 5);

/** @returns the text as latin1; undefined when it is no whole number of words, or is padded wrongly */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number): string | undefined {
  const out = Buffer.allocUnsafe(mostOctets(end - start));
  let length = 0;
  let state = 0;
  for (let at = start; at < end; at++) {
    const octet = bytes[at] as number;
    for (let shift = 4; shift >= 0; shift -= 4) {
      const index = state * 16 + ((octet >>> shift) & 15);
      const symbol = OCTETS[index] as number;
      if (symbol !== -1) out[length++] = symbol;
      state = NEXT[index] as number;
      if (state === FAILED) return undefined;
    }
  }
  return mayEnd[state] ? out.toString('latin1', 0, length) : undefined;
}
