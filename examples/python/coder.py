"""The range coder, the slots that adapt, and symbols: delta/FORMAT.md, sections 3 to 5."""
import json
import pathlib

from cbor import refuse_unless

TABLES = json.loads((pathlib.Path(__file__).resolve().parents[2] / "delta/tables.json").read_text())
KNOTS, SLOT, SLOTS = TABLES["squash_knots"], {}, 0
for _name, _length in TABLES["slots"]:
    SLOT[_name], SLOTS = SLOTS, SLOTS + _length


def squash(x):
    a = max(-2047, min(2047, x)) + 2048
    low, high = KNOTS[a // 32], KNOTS[a // 32 + 1]
    return low + ((high - low) * (a % 32) + 16) // 32


STRETCH = []
for _x in range(-2047, 2048):
    STRETCH += [_x] * ((squash(_x) >> 4) + 1 - len(STRETCH))
STRETCH += [2047] * (4096 - len(STRETCH))


def stretch(chance):
    return STRETCH[chance >> 4]


def taught(chance, seen, decision):
    return max(16, min(65520, chance + (((65535 * decision - chance) * ((2 << 16) // (2 * seen + 3))) >> 16)))


class Coder:
    """Decisions out of bytes. Behind the end it reads zeros, at most 16."""

    def __init__(self, data):
        self.data, self.at, self.range, self.code, self.slots = data, 0, 1 << 56, 0, {}
        for _ in range(7):
            self.byte()

    def byte(self):
        self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
        self.at += 1

    def check(self):
        refuse_unless(self.at <= len(self.data) + 16, "Truncated")

    def finish(self):
        self.check()
        refuse_unless(self.at >= len(self.data), "Trailing")

    def decide(self, yes, scale=16):
        bound = (self.range >> scale) * yes
        decision = int(self.code < bound)
        if decision:
            self.range = bound
        else:
            self.code, self.range = self.code - bound, self.range - bound
        while self.range < 1 << 48:
            self.range <<= 8
            self.byte()
        return decision

    def slot(self, at):
        if at not in self.slots:
            logit = TABLES["logits"][at]
            self.slots[at] = (32768, 1) if logit == -128 else (squash(16 * logit), 10)
        return self.slots[at]

    def learn(self, at, decision):
        chance, seen = self.slot(at)
        self.slots[at] = taught(chance, seen, decision), min(seen + 1, 250)

    def bit_at(self, at):
        decision = self.decide(self.slot(at)[0])
        self.learn(at, decision)
        return decision

    def bit(self, name, plus=0):
        return self.bit_at(SLOT[name] + plus)

    def raw(self, bits):
        value = 0
        for _ in range(bits):
            value = value << 1 | self.decide(1, 1)
        return value

    def tree(self, name, plus, bits):
        node = 1
        for _ in range(bits):
            node = node << 1 | self.bit(name, plus + node)
        return node - (1 << bits)

    def count(self, name, plus=0):
        c = 0
        while c < 24 and self.bit(name, plus + c):
            c += 1
        return c and (1 << c) + (self.bit(name, plus + 25 + c) << c - 1 | self.raw(c - 1)) - 1

    def signed(self, name, plus=0):
        c = self.tree(name, plus, 7)
        refuse_unless(c <= 79, "Number")
        if c == 0:
            return 0
        m, t = min(c, 32), min(c - 1, 2)
        negative = self.bit(name, plus + 127 + m)
        size = 1 << c - 1 | self.tree(name, plus + 160 + 4 * (m - 1), t) << c - 1 - t
        size |= self.raw(c - 1 - t)
        return -size if negative else size

    def uniform(self, n):
        low, high = 0, n
        while high - low > 1:
            middle = low + (high - low) // 2
            if self.decide(((high - middle) << 24) // (high - low), 24):
                low = middle
            else:
                high = middle
        return low

    def pick(self, k, weights):
        total, picked = sum(weights), []
        for at, weight in enumerate(weights):
            left = k - len(picked)
            if left == 0:
                break
            chance = max(64, min(2**24 - 65536, ((left * weight) << 24) // max(total, 1)))
            if left >= len(weights) - at or self.decide(chance, 24):
                picked.append(at)
            total -= weight
        return picked
