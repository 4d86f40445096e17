"""The packed delta as the other files use it: `tombolo_delta.py` reads it by itself. The range coder stands here for what envelopes on
air put before a delta; the delta behind that is not read: `NotYet`, which `check.py` counts.
"""
import cbor
import tombolo_delta
from cbor import refuse_unless


class NotYet(Exception):
    """A delta on air: this decoder does not read its content yet."""


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
    names = ("base_sequence", "sequence", "base_time_ms", "time_ms")
    try:
        base = tombolo_delta.Cbor(cbor.encode(base)).whole()
        target = tombolo_delta.apply(base, packed, dict(zip(names, context)))
    except tombolo_delta.Refused as refused:
        raise cbor.Refused(str(refused)) from None
    return cbor.decode(tombolo_delta.to_cbor(target))


def decode_on_air(*_):
    """A delta behind what an envelope on air has in the same coder."""
    raise NotYet
