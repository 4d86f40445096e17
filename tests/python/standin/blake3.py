"""In the place of the package `blake3` where that is not installed: the hash as its paper has it, slow."""
import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
START, END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
MASK = 0xFFFFFFFF
LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))

def compress(chain, block, counter, length, flags):
    words = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = list(chain) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        for lane, (a, b, c, d) in enumerate(LANES):
            for word, turn_d, turn_b in ((words[2 * lane], 16, 12), (words[2 * lane + 1], 8, 7)):
                v[a] = v[a] + v[b] + word & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> turn_d | x << 32 - turn_d) & MASK
                v[c] = v[c] + v[d] & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> turn_b | x << 32 - turn_b) & MASK
        words = [words[at] for at in ORDER]
    return [v[n] ^ v[n + 8] for n in range(8)] + [v[n + 8] ^ chain[n] for n in range(8)]

def last_of(data, key, counter, flags):
    """The last compression of a chunk or tree, not made yet: the root's is made with another flag."""
    if len(data) <= 1024:
        chain, blocks = key, [data[at:at + 64] for at in range(0, len(data), 64)] or [b""]
        for n, block in enumerate(blocks[:-1]):
            chain = compress(chain, block, counter, 64, flags | (START if n == 0 else 0))[:8]
        start = START if len(blocks) == 1 else 0
        return chain, blocks[-1], counter, len(blocks[-1]), flags | start | END
    left = 1024
    while left * 2 < len(data):
        left *= 2
    halves = (last_of(data[:left], key, counter, flags), last_of(data[left:], key, counter + left // 1024, flags))
    return key, b"".join(struct.pack("<8I", *compress(*half)[:8]) for half in halves), 0, 64, flags | PARENT

class blake3:
    """As of the package, as far as the pages need it: hash, keyed hash, key derivation; 32 bytes."""

    def __init__(self, data, key=None, derive_key_context=None):
        self.data, self.key, self.flags = bytes(data), key, KEYED if key else 0
        if derive_key_context is not None:
            own = blake3(derive_key_context.encode())
            own.flags = CONTEXT
            self.key, self.flags = own.digest(), MATERIAL

    def digest(self):
        key = struct.unpack("<8I", self.key) if self.key else IV
        chain, block, _, length, flags = last_of(self.data, key, 0, self.flags)
        return struct.pack("<16I", *compress(chain, block, 0, length, flags | ROOT))[:32]
