"""Deterministic CBOR: delta/FORMAT.md, sections 1 and 2. Only the form that `encode` writes is accepted.

Values: None, bool, int, `Float` (64 bits, compared as such), bytes, str, list, dict (its keys int or str).
"""
import struct
from collections import namedtuple

Float = namedtuple("Float", "bits")
CODES = {2: ">e", 4: ">f", 8: ">d"}  # of a float of so many bytes
MANTISSAS = {2: 10, 4: 23, 8: 52}  # its bits
SIMPLE = {20: False, 21: True, 22: None}

class Refused(ValueError):
    """Bytes that are not what the pages draw, and the rule's name. No UTF-8 is Python's own ValueError."""

def refuse_unless(holds, name):
    if not holds:
        raise Refused(name)

def bits_of(number, length=8):
    return int.from_bytes(struct.pack(CODES[length], number), "big")

def number_of(bits, length=8):
    return struct.unpack(CODES[length], bits.to_bytes(length, "big"))[0]

def widened(bits, length):
    """The 64 bits of a float. The payload of a NaN goes to the top, which `struct` does not promise."""
    number, mantissa = number_of(bits, length), MANTISSAS[length]
    if number == number:
        return bits_of(number)
    return bits >> 8 * length - 1 << 63 | 0x7FF << 52 | bits % (1 << mantissa) << 52 - mantissa

def narrowed(bits, length):
    """A float of so many bytes that may widen to these bits."""
    number, mantissa = number_of(bits), MANTISSAS[length]
    if number != number:
        top = (bits >> 63 << 8 * length - 1) + (1 << 8 * length - 1) - (1 << mantissa)
        return top | bits % (1 << 52) >> 52 - mantissa
    try:
        return bits_of(number, length)
    except OverflowError:
        return 0

def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    length = next(length for length in (1, 2, 4, 8) if number < 1 << 8 * length)
    return bytes([major << 5 | 23 + length.bit_length()]) + number.to_bytes(length, "big")

def encode(value):
    if value is None or type(value) is bool:
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if type(value) is Float:
        length = next(n for n in (2, 4, 8) if widened(narrowed(value.bits, n), n) == value.bits)
        return bytes([0xF8 + length.bit_length() - 1]) + narrowed(value.bits, length).to_bytes(length, "big")
    if type(value) is int:
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if type(value) is bytes:
        return head(2, len(value)) + value
    if type(value) is str:
        return head(3, len(value.encode())) + value.encode()
    if type(value) is list:
        return head(4, len(value)) + b"".join(map(encode, value))
    pairs = sorted((encode(key), encode(item)) for key, item in value.items())
    return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)

class Reader:
    def __init__(self, data, depth_max):
        self.data, self.at, self.depth_max = data, 0, depth_max

    def take(self, count):
        refuse_unless(count <= len(self.data) - self.at, "Truncated")
        self.at += count
        return self.data[self.at - count:self.at]

    def value(self, depth=0):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        refuse_unless(info < 28, "Indefinite" if info == 31 else "Reserved")
        number = info if info < 24 else int.from_bytes(self.take(1 << info - 24), "big")
        if major < 2:
            return number if major == 0 else -1 - number
        if major < 4:
            data = bytes(self.take(number))
            return data if major == 2 else data.decode()
        if major == 7 and info > 24:
            return Float(widened(number, 1 << info - 24))
        if major > 5:
            refuse_unless(major == 7 and info in SIMPLE, "Tag" if major == 6 else "Simple")
            return SIMPLE[info]
        refuse_unless(depth < self.depth_max, "TooDeep")
        items = [self.value(depth + 1) for _ in range(number * (major - 3))]
        if major == 4:
            return items
        refuse_unless(all(type(key) in (int, str) for key in items[::2]), "KeyKind")
        return dict(zip(items[::2], items[1::2]))

def decode(data, bytes_max=262_144, depth_max=64):  # items need a byte each, so they are limited too
    """The one value that the bytes are. All rules of order and of shortest forms are one check, the last."""
    refuse_unless(len(data) <= bytes_max, "TooLong")
    reader = Reader(data, depth_max)
    value = reader.value()
    refuse_unless(reader.at == len(data), "Trailing")
    refuse_unless(encode(value) == data, "OneForm")
    return value
