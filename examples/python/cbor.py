"""Deterministic CBOR: delta/FORMAT.md, sections 1 and 2. One form is accepted, every other is refused by name.

Values: None, bool, int, `Float` (64 bits, compared as such), bytes, str, list, dict (in the order of its keys: int or str).
"""
import struct
from collections import namedtuple

Float = namedtuple("Float", "bits")


class Refused(Exception):
    """Bytes that are not what the pages draw. `args[0]` is the name of the rule."""


def refuse_unless(holds, name):
    if not holds:
        raise Refused(name)


def head(major, number):
    for info, length in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << 8 * length:
            return bytes([major << 5 | info]) + number.to_bytes(length, "big")
    raise Refused("Number")


def widen(bits, length):
    """The 64 bits of a float of 2, 4 or 8 bytes. The payload of a NaN goes to the top."""
    exponent, mantissa = {2: (5, 10), 4: (8, 23), 8: (11, 52)}[length]
    payload = bits & (1 << mantissa) - 1
    if (bits >> mantissa) & (1 << exponent) - 1 == (1 << exponent) - 1 and payload:
        return bits >> 8 * length - 1 << 63 | 0x7FF << 52 | payload << 52 - mantissa
    short = struct.unpack({2: ">e", 4: ">f", 8: ">d"}[length], bits.to_bytes(length, "big"))[0]
    return struct.unpack(">Q", struct.pack(">d", short))[0]


def encode_float(bits):
    number = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    for info, length, code, mantissa in ((25, 2, ">e", 10), (26, 4, ">f", 23)):
        try:
            short = int.from_bytes(struct.pack(code, number), "big")
        except OverflowError:
            continue
        if number != number:
            top = (1 << 8 * length - 1) - (1 << mantissa)
            short = bits >> 63 << 8 * length - 1 | top | bits >> 52 - mantissa & (1 << mantissa) - 1
        if widen(short, length) == bits:
            return bytes([7 << 5 | info]) + short.to_bytes(length, "big")
    return b"\xfb" + bits.to_bytes(8, "big")


def encode(value):
    if value is None or type(value) is bool:
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if type(value) is Float:
        return encode_float(value.bits)
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
    def __init__(self, data, depth_max, items_max):
        self.data, self.at, self.owed, self.depth_max, self.items_left = data, 0, 0, depth_max, items_max

    def take(self, count):
        refuse_unless(self.at + count + self.owed <= len(self.data), "Truncated")
        self.at += count
        return self.data[self.at - count:self.at]

    def head(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        refuse_unless(info != 31, "Indefinite")
        refuse_unless(info < 28, "Reserved")
        if info < 24:
            return major, info, info
        number = int.from_bytes(self.take(1 << info - 24), "big")
        refuse_unless(major == 7 or number >= (24, 1 << 8, 1 << 16, 1 << 32)[info - 24], "LongHead")
        return major, info, number

    def value(self, depth=0):
        self.items_left -= 1
        refuse_unless(self.items_left >= 0, "TooManyItems")
        start = self.at
        major, info, number = self.head()
        if major < 2:
            return number if major == 0 else -1 - number
        if major < 4:
            return self.string(major, number)
        refuse_unless(major != 6, "Tag")
        if major == 7:
            refuse_unless(info in (20, 21, 22, 25, 26, 27), "Simple")
            if info < 24:
                return (False, True, None)[info - 20]
            bits = widen(number, 1 << info - 24)
            refuse_unless(encode_float(bits) == self.data[start:self.at], "LongFloat")
            return Float(bits)
        refuse_unless(depth < self.depth_max, "TooDeep")
        # What is announced needs a byte for each item, also of the arrays and maps around.
        announced = number * (major - 3)
        refuse_unless(announced <= len(self.data) - self.at - self.owed, "Truncated")
        self.owed += announced
        return self.array(number, depth) if major == 4 else self.map(number, depth)

    def string(self, major, length):
        data = bytes(self.take(length))
        try:
            return data if major == 2 else data.decode()
        except UnicodeDecodeError:
            raise Refused("NotUtf8") from None

    def array(self, count, depth):
        items = []
        for _ in range(count):
            self.owed -= 1
            items.append(self.value(depth + 1))
        return items

    def map(self, count, depth):
        members, last = {}, b""
        for _ in range(count):
            start = self.at
            self.owed -= 1
            major, _, number = self.head()
            refuse_unless(major in (0, 1, 3), "KeyKind")
            key = self.string(3, number) if major == 3 else number if major == 0 else -1 - number
            encoded = self.data[start:self.at]
            refuse_unless(encoded != last, "KeyTwice")
            refuse_unless(encoded > last, "KeyOrder")
            self.owed -= 1
            last, members[key] = encoded, self.value(depth + 1)
        return members


def decode(data, bytes_max=256 << 10, depth_max=64, items_max=256 << 10):
    """The one value that the bytes are. Raises `Refused` with the name of the rule that they break."""
    refuse_unless(len(data) <= bytes_max, "TooLong")
    reader = Reader(bytes(data), depth_max, items_max)
    value = reader.value()
    refuse_unless(reader.at == len(data), "Trailing")
    return value
