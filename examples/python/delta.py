"""The packed delta: delta/FORMAT.md. The range coder is here; slots, walk and word lists follow with `delta/tables.json`.

`decode` raises `NotYet` until then, and `check.py` counts what needs it as not read.
"""
from cbor import refuse_unless


class NotYet(Exception):
    """A delta: this decoder does not read its content yet."""


class Coder:
    """Decisions out of bytes (section 3). Behind the end it reads zeros, at most 16."""

    def __init__(self, data):
        self.data, self.at, self.range, self.code = data, 0, 1 << 56, 0
        for _ in range(7):
            self.byte()

    def byte(self):
        self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
        self.at += 1

    def decide(self, yes, scale=16):
        bound = (self.range >> scale) * yes
        decision = self.code < bound
        if decision:
            self.range = bound
        else:
            self.code, self.range = self.code - bound, self.range - bound
        while self.range < 1 << 48:
            self.range <<= 8
            self.byte()
        return decision

    def raw(self, bits):
        value = 0
        for _ in range(bits):
            value = value << 1 | self.decide(1, 1)
        return value

    def check(self):
        refuse_unless(self.at <= len(self.data) + 16, "Truncated")

    def finish(self):
        self.check()
        refuse_unless(self.at >= len(self.data), "Trailing")


def decode(base, packed, context):
    """The target of a packed delta on a base, in the context (base sequence, sequence, base time, time)."""
    raise NotYet
