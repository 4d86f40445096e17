"""The range coder, the slots that adapt, and symbols: delta/FORMAT.md, sections 3 to 5."""
import json
import pathlib

from cbor import refuse_unless

TABLES = json.loads((pathlib.Path(__file__).resolve().parents[2] / "delta/tables.json").read_text())
SLOT, _slots = {}, 0  # the number of the first slot of each name
for _name, _length in TABLES["slots"]:
    SLOT[_name], _slots = _slots, _slots + _length

def squash(logit):
    a = max(-2047, min(2047, logit)) + 2048
    low, high = TABLES["squash_knots"][a // 32:a // 32 + 2]
    return low + ((high - low) * (a % 32) + 16) // 32

STRETCH = []
for _logit in range(-2047, 2048):
    STRETCH += [_logit] * ((squash(_logit) >> 4) + 1 - len(STRETCH))
STRETCH += [2047] * (4096 - len(STRETCH))
UNTAUGHT = [(32768, 1) if logit == -128 else (squash(16 * logit), 10) for logit in TABLES["logits"]]

def taught(chance, seen, decision):
    moved = chance + ((65535 * decision - chance) * ((2 << 16) // (2 * seen + 3)) >> 16)
    return max(16, min(65520, moved))

class Coder:
    """Decisions out of bytes. Behind the end it reads zeros, at most 16."""

    def __init__(self, data):
        self.data, self.at, self.range, self.slots = data, 7, 1 << 56, list(UNTAUGHT)
        self.code = int.from_bytes(data[:7].ljust(7, b"\0"), "big")

    def decide(self, yes, scale=16):
        bound = (self.range >> scale) * yes
        decision = int(self.code < bound)
        self.range = bound if decision else self.range - bound
        self.code -= 0 if decision else bound
        while self.range < 1 << 48:
            self.range <<= 8
            self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
            self.at += 1
            refuse_unless(self.at <= len(self.data) + 16, "Truncated")
        return decision

    def learn(self, slot, decision):
        chance, seen = self.slots[slot]
        self.slots[slot] = taught(chance, seen, decision), min(seen + 1, 250)

    def bit(self, name, plus=0):
        slot = SLOT[name] + plus
        decision = self.decide(self.slots[slot][0])
        self.learn(slot, decision)
        return decision

    def raw(self, bits):
        return sum(self.decide(1, 1) << n for n in range(bits - 1, -1, -1))

    def tree(self, name, plus, bits):
        node = 1
        for _ in range(bits):
            node = node << 1 | self.bit(name, plus + node)
        return node - (1 << bits)

    def count(self, name, plus=0):
        c = next(c for c in range(25) if c == 24 or not self.bit(name, plus + c))
        if c == 0:
            return 0
        return (1 << c | self.bit(name, plus + 25 + c) << c - 1 | self.raw(c - 1)) - 1

    def signed(self, name, plus=0):
        c = self.tree(name, plus, 7)
        refuse_unless(c <= 79, "Number")
        if c == 0:
            return 0
        m, t = min(c, 32), min(c - 1, 2)
        negative = self.bit(name, plus + 127 + m)
        size = (1 << t | self.tree(name, plus + 160 + 4 * (m - 1), t)) << c - 1 - t | self.raw(c - 1 - t)
        return -size if negative else size

    def uniform(self, n):
        low, high = 0, n
        while high - low > 1:
            middle = (low + high) // 2
            upper = self.decide(((high - middle) << 24) // (high - low), 24)
            low, high = (middle, high) if upper else (low, middle)
        return low

    def pick(self, k, weights):
        refuse_unless(k <= len(weights), "Position")
        total, picked = sum(weights), []
        for at, weight in enumerate(weights):
            left = k - len(picked)
            chance = max(64, min((1 << 24) - 65536, (left * weight << 24) // total))
            if left == len(weights) - at or left > 0 and self.decide(chance, 24):
                picked.append(at)
            total -= weight
        return picked
