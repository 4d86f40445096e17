"""A decoder of Tombolo's deltas, beside delta/FORMAT.md and delta/tables.json. Standard library only.

    python3 tombolo_delta.py ../../delta/tests/vectors    checks it against the vectors

It is meant to be read beside the page: each function names the section that it follows. Values are None, bool, int, Float (64
bits), bytes, str, list, and Map (pairs in the order of their keys; a key is an int or a str).
"""

import datetime
import json
import pathlib
import struct
import sys

TABLES = json.loads((pathlib.Path(__file__).parents[2] / "delta" / "tables.json").read_text())
SLOT, SLOTS = {}, 0
for _name, _length in TABLES["slots"]:
    SLOT[_name] = SLOTS
    SLOTS += _length
LEXICON = bytes.fromhex("".join(TABLES["lexicon"]))
NEW_BYTES_MAX = 262_144
INT_MIN, INT_MAX = -(2**64), 2**64 - 1
TIME_MAX = 2**63 - 1


class Refused(Exception):
    """Its text is the name of section 11."""


class Float(int):
    """The 64 bits of a float. `by_value` is for arithmetic only."""

    def by_value(self):
        return struct.unpack(">d", struct.pack(">Q", self))[0]


class Map(list):
    """Pairs of key and value, in the order of their keys."""

    def get(self, key):
        for own, value in self:
            if type(own) is type(key) and own == key:
                return value
        return None


def kind(value):
    """Section 1."""
    for number, of in enumerate((type(None), bool, None, Float, bytes, str, Map, None)):
        if of is not None and type(value) is of:
            return {6: 7}.get(number, number)
    return 6 if type(value) is list else 2


def same(a, b):
    if kind(a) != kind(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if type(a) is Map:
        return len(a) == len(b) and all(x[0] == y[0] and same(x[1], y[1]) for x, y in zip(a, b))
    return a == b


# ---- section 2: deterministic CBOR ----------------------------------------------------------------------------------


def key_order(key):
    if isinstance(key, int):
        return (0 if key >= 0 else 1, key if key >= 0 else -1 - key, b"")
    encoded = key.encode()
    return (2, len(encoded), encoded)


def narrowed(bits):
    """The shortest float that widens to the same bits, as head and bytes."""
    sign, exponent, fraction = bits >> 63, bits >> 52 & 0x7FF, bits & (2**52 - 1)
    for head, exponent_bits, fraction_bits, size in ((0xF9, 5, 10, 2), (0xFA, 8, 23, 4)):
        top, bias, drop = 2**exponent_bits - 1, 2 ** (exponent_bits - 1) - 1, 52 - fraction_bits
        scale = exponent - 1023 + bias
        body = None
        if exponent == 0x7FF and fraction % 2**drop == 0:
            body = top << fraction_bits | fraction >> drop
        elif exponent == 0 and fraction == 0:
            body = 0
        elif 0 < scale < top and exponent not in (0, 0x7FF) and fraction % 2**drop == 0:
            body = scale << fraction_bits | fraction >> drop
        elif scale <= 0 and exponent not in (0, 0x7FF):
            shift, whole = drop + 1 - scale, fraction | 2**52
            if whole % 2**shift == 0 and whole >> shift:
                body = whole >> shift
        if body is not None:
            return head, (sign << (exponent_bits + fraction_bits) | body).to_bytes(size, "big")
    return 0xFB, bits.to_bytes(8, "big")


def widened(head, data):
    """The 64 bits of a short float."""
    exponent_bits, fraction_bits = {0xF9: (5, 10), 0xFA: (8, 23), 0xFB: (11, 52)}[head]
    bits = int.from_bytes(data, "big")
    sign, top, drop = bits >> exponent_bits + fraction_bits, 2**exponent_bits - 1, 52 - fraction_bits
    exponent, fraction = bits >> fraction_bits & top, bits & (2**fraction_bits - 1)
    bias = 2 ** (exponent_bits - 1) - 1
    if head == 0xFB:
        return bits
    if exponent == top:
        return sign << 63 | 0x7FF << 52 | fraction << drop
    if exponent == 0:
        if fraction == 0:
            return sign << 63
        shift = fraction_bits + 1 - fraction.bit_length()
        exponent, fraction = 1 - shift, fraction << shift & (2**fraction_bits - 1)
    return sign << 63 | exponent - bias + 1023 << 52 | fraction << drop


class Cbor:
    def __init__(self, data, items_max=262_144):
        self.data, self.at, self.owed, self.items_left = data, 0, 0, items_max

    def whole(self):
        if len(self.data) > 262_144:
            raise Refused("TooLong")
        value = self.value(0)
        if self.at < len(self.data):
            raise Refused("Trailing")
        return value

    def fitting(self, length, least=1):
        if length > max(len(self.data) - self.at - self.owed, 0) // least:
            raise Refused("Truncated")
        return length

    def take(self, length):
        self.fitting(length)
        self.at += length
        return self.data[self.at - length : self.at]

    def peek(self):
        if self.at >= len(self.data):
            raise Refused("Truncated")
        return self.data[self.at]

    def head(self):
        first = self.peek()
        self.at += 1
        short = first & 31
        if short < 24:
            return first >> 5, short
        if short == 31:
            raise Refused("Indefinite")
        if short > 27:
            raise Refused("Reserved")
        argument = int.from_bytes(self.take(1 << short - 24), "big")
        if argument < (24, 2**8, 2**16, 2**32)[short - 24]:
            raise Refused("LongHead")
        return first >> 5, argument

    def value(self, depth):
        self.items_left -= 1
        if self.items_left < 0:
            raise Refused("TooManyItems")
        if self.peek() >> 5 == 7:
            return self.simple()
        major, argument = self.head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return bytes(self.take(argument))
        if major == 3:
            return self.text(argument)
        if major == 6:
            raise Refused("Tag")
        if depth >= 64:
            raise Refused("TooDeep")
        return self.array(argument, depth) if major == 4 else self.map(argument, depth)

    def text(self, length):
        try:
            return bytes(self.take(length)).decode()
        except UnicodeDecodeError:
            raise Refused("NotUtf8") from None

    def array(self, length, depth):
        self.owed += self.fitting(length)
        items = []
        for _ in range(length):
            self.owed -= 1
            items.append(self.value(depth + 1))
        return items

    def map(self, length, depth):
        self.owed += 2 * self.fitting(length, 2)
        entries = Map()
        for _ in range(length):
            self.owed -= 1
            key = self.key()
            self.owed -= 1
            if entries and key_order(entries[-1][0]) >= key_order(key):
                raise Refused("KeyTwice" if entries[-1][0] == key else "KeyOrder")
            entries.append((key, self.value(depth + 1)))
        return entries

    def key(self):
        if self.peek() >> 5 == 7:
            raise Refused("KeyKind")
        major, argument = self.head()
        if major in (0, 1):
            return argument if major == 0 else -1 - argument
        if major != 3:
            raise Refused("KeyKind")
        return self.text(argument)

    def simple(self):
        head = self.peek()
        self.at += 1
        if head in (0xF4, 0xF5, 0xF6):
            return {0xF4: False, 0xF5: True, 0xF6: None}[head]
        if head in (0xF9, 0xFA, 0xFB):
            bits = widened(head, self.take(2 << head - 0xF9))
            if narrowed(bits)[0] != head:
                raise Refused("LongFloat")
            return Float(bits)
        if head == 0xF8:
            self.take(1)
        raise Refused({0xFF: "Indefinite"}.get(head, "Reserved" if 0xFC <= head <= 0xFE else "Simple"))


def to_cbor(value):
    def head(major, argument):
        if argument < 24:
            return bytes([major << 5 | argument])
        size = next(n for n in range(4) if argument < 2 ** (8 << n))
        return bytes([major << 5 | 24 + size]) + argument.to_bytes(1 << size, "big")

    number = kind(value)
    if number < 2:
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if number == 2:
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if number == 3:
        first, data = narrowed(int(value))
        return bytes([first]) + data
    if number == 4:
        return head(2, len(value)) + value
    if number == 5:
        return head(3, len(value.encode())) + value.encode()
    if number == 6:
        return head(4, len(value)) + b"".join(map(to_cbor, value))
    return head(5, len(value)) + b"".join(to_cbor(key) + to_cbor(item) for key, item in value)


# ---- sections 3 to 5: coder, chances, symbols -----------------------------------------------------------------------

KNOTS = TABLES["squash_knots"]


def squash(x):
    a = max(-2047, min(2047, x)) + 2048
    low, high = KNOTS[a // 32], KNOTS[a // 32 + 1]
    return low + ((high - low) * (a % 32) + 16) // 32


STRETCH = []
for _x in range(-2047, 2048):
    while len(STRETCH) <= squash(_x) >> 4:
        STRETCH.append(_x)
STRETCH += [2047] * (4096 - len(STRETCH))


def stretch(chance):
    return STRETCH[chance >> 4]


class Symbols:
    def __init__(self, data):
        self.data, self.read, self.code, self.range = data, 0, 0, 1 << 56
        for _ in range(7):
            self.shift()
        self.slots = {}

    def shift(self):
        byte = self.data[self.read] if self.read < len(self.data) else 0
        self.code, self.read = self.code << 8 | byte, self.read + 1

    def check(self):
        if self.read > len(self.data) + 16:
            raise Refused("Truncated")

    def finish(self):
        self.check()
        if self.read < len(self.data):
            raise Refused("Trailing")

    def decide(self, yes, scale):
        bound = (self.range >> scale) * yes
        decision = self.code < bound
        if decision:
            self.range = bound
        else:
            self.code, self.range = self.code - bound, self.range - bound
        while self.range < 1 << 48:
            self.range <<= 8
            self.shift()
        return decision

    def slot(self, at):
        if at not in self.slots:
            logit = TABLES["logits"][at]
            self.slots[at] = [32768, 1] if logit == -128 else [squash(16 * logit), 10]
        return self.slots[at]

    def learn(self, at, decision):
        slot = self.slot(at)
        step = (2 << 16) // (2 * slot[1] + 3)
        slot[0] += (((65535 if decision else 0) - slot[0]) * step) >> 16
        slot[0] = max(16, min(65520, slot[0]))
        slot[1] = min(slot[1] + 1, 250)

    def bit(self, at):
        decision = self.decide(self.slot(at)[0], 16)
        self.learn(at, decision)
        return int(decision)

    def raw(self, n):
        number = 0
        for _ in range(n):
            number = number << 1 | self.decide(1, 1)
        return number

    def tree(self, at, n):
        node = 1
        for _ in range(n):
            node = node << 1 | self.bit(at + node)
        return node - (1 << n)

    def count(self, at):
        c = 0
        while c < 24 and self.bit(at + c):
            c += 1
        if c == 0:
            return 0
        return (1 << c) + (self.bit(at + 25 + c) << c - 1 | self.raw(c - 1)) - 1

    def signed(self, at):
        c = self.tree(at, 7)
        if c == 0:
            return 0
        if c > 79:
            raise Refused("Number")
        m, t = min(c, 32), min(c - 1, 2)
        negative = self.bit(at + 127 + m)
        top = self.tree(at + 160 + 4 * (m - 1), t)
        size = 1 << c - 1 | top << c - 1 - t
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


# ---- section 6: what the base shows ---------------------------------------------------------------------------------


def has(key, words):
    return any(word in key for word in TABLES[words + "_words"])


def name_of(key):
    return key if isinstance(key, str) else ""


def moment(text):
    """Milliseconds and whether they show, if the text is such a time."""
    for form, fine in (("%Y-%m-%dT%H:%M:%SZ", False), ("%Y-%m-%dT%H:%M:%S.%fZ", True)):
        if len(text) == (24 if fine else 20):
            try:
                time = datetime.datetime.strptime(text, form).replace(tzinfo=datetime.timezone.utc)
            except ValueError:
                continue
            ms = (time - EPOCH) // datetime.timedelta(milliseconds=1)
            if written(ms, fine) == text:
                return ms, fine
    return None


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def written(ms, fine):
    try:
        time = EPOCH + datetime.timedelta(milliseconds=ms)
    except OverflowError:
        raise Refused("Number") from None
    text = f"{time.year:04}-{time.month:02}-{time.day:02}T{time.hour:02}:{time.minute:02}:{time.second:02}"
    return text + (f".{time.microsecond // 1000:03}Z" if fine else "Z")


class Running:
    def __init__(self, context, on):
        self.on = on
        self.base_sequence, self.sequence = context["base_sequence"], context["sequence"]
        self.before = min(context["base_time_ms"], TIME_MAX)
        self.now = min(context["time_ms"], TIME_MAX)

    def kind(self, key, value):
        if not self.on:
            return None
        if type(value) is str:
            time = moment(value)
            return "clock" if time and abs(time[0] - self.before) <= 90_000 else None
        if kind(value) == 2:
            if has(key, "uptime"):
                return "uptime"
            if value == self.base_sequence > 0 and has(key, "counter"):
                return "counter"
        return None

    def clock(self, time):
        unit = 1 if time[1] else 1000
        return time[0] + (self.now // unit - self.before // unit) * unit, time[1]

    def uptime(self, old):
        new = old + self.now // 1000 - self.before // 1000
        return new if INT_MIN <= new <= INT_MAX else old

    def advanced(self, key, value):
        if type(value) is list:
            return [self.advanced(key, item) for item in value]
        if type(value) is Map:
            return Map((k, self.advanced(name_of(k), item)) for k, item in value)
        runs = self.kind(key, value)
        if runs == "clock":
            return written(*self.clock(moment(value)))
        return {"uptime": self.uptime, "counter": lambda _: self.sequence}.get(runs, lambda v: v)(value)


class Node:
    """Class, weight, liveliness and page bits of a node, and its children in order."""

    def __init__(self, key, value, running, page_bits=0):
        self.page_bits, self.children = page_bits, []
        self.kind = self.classify(key, value, running)
        self.weight = {5: 4, 9: 30, 10: 1, 11: 3, 12: 4}.get(self.kind, 20 if self.kind < 5 else 2)
        self.lively = self.kind < 5
        if type(value) is list:
            self.children = [Node(key, item, running) for item in value]
        elif type(value) is Map:
            pages = self.pages(value)
            for own, item in value:
                name = name_of(own)
                node = Node(name, item, running)
                if node.kind == 3:
                    zeros = pages.get(name.split("_")[0], 0)
                    node.page_bits = next((bits for bits in (12, 10, 9) if bits <= zeros), 0)
                self.children.append(node)
        for child in self.children:
            self.weight = min(self.weight + child.weight, 2**32 - 1)
            self.lively = self.lively or child.lively

    @staticmethod
    def classify(key, value, running):
        number = kind(value)
        if number == 2:
            if running.kind(key, value) == "uptime":
                return 1
            if has(key, "settled"):
                return 6
            return (3 if value >= 65536 else 4) if has(key, "lively") else 5
        if number == 5:
            if running.kind(key, value) == "clock":
                return 0
            return 9 if has(key, "version") else 10 if key == "id" or has(key, "name") else 11
        return {0: 8, 1: 7, 3: 2, 4: 14, 6: 12, 7: 13}[number]

    @staticmethod
    def pages(entries):
        pages = {}
        for key, value in entries:
            if kind(value) == 2 and value > 65536:
                word, zeros = name_of(key).split("_")[0], (value & -value).bit_length() - 1
                pages[word] = min(pages.get(word, zeros), zeros)
        return pages


class Words:
    """The texts under one key, by falling frequency."""

    def __init__(self, texts):
        counts = {}
        for text in texts:
            counts[text] = counts.get(text, 0) + 1
        self.ranked = sorted(([text, count] for text, count in counts.items()), key=lambda word: -word[1])
        self.total = len(texts)

    def rank(self, text):
        return next((at for at, word in enumerate(self.ranked) if word[0] == text), None)

    def is_vocabulary(self):
        return len(self.ranked) <= 4 and self.total >= 3 * len(self.ranked)

    def add(self, text):
        if len(text.encode()) > 4096:
            return
        self.total += 1
        rank = self.rank(text)
        if rank is None:
            self.ranked.append([text, 1])
            return
        first = next(at for at, word in enumerate(self.ranked) if word[1] == self.ranked[rank][1])
        self.ranked[first], self.ranked[rank] = self.ranked[rank], self.ranked[first]
        self.ranked[first][1] += 1


def leaves(key, value):
    """Key and value of each leaf, in order."""
    if type(value) is list:
        for item in value:
            yield from leaves(key, item)
    elif type(value) is Map:
        for own, item in value:
            yield from leaves(name_of(own), item)
    else:
        yield key, value


# ---- section 7: literals --------------------------------------------------------------------------------------------


class Guide:
    def __init__(self, text):
        self.text, self.place = text, 0 if text else 1
        self.matched = self.missed = self.resume = 0

    def next(self):
        if self.place == len(self.text):
            return 0
        return self.text[self.place] if self.place < len(self.text) else None

    def state(self):
        return min(self.matched, 7) if self.missed == 0 else 8 + min(self.matched, 3)

    def follow(self, byte, history, window):
        """Returns how many pairs were looked at."""
        if self.next() == byte:
            self.matched += 1
        else:
            if self.matched > 0:
                self.resume = self.place
            self.matched, self.missed = 0, self.missed + 1
        self.place += 1
        if self.matched > 0 or len(history) < 2:
            return 0
        pairs = max(min(len(self.text) - 1 - self.resume, window), 0)
        for at in range(self.resume, self.resume + pairs):
            if self.text[at : at + 2] == history[-2:]:
                self.place, self.matched = at + 2, 1
                return at - self.resume + 1
        return pairs


def byte_kind(byte):
    if byte >= 128 or chr(byte).isascii() and chr(byte).isalpha():
        return 0
    return 1 if 48 <= byte <= 57 else 2 if byte < 3 else 3


def ratio(counts):
    largest = max(counts)
    shift = 0 if largest < 32 else (largest // 32).bit_length()
    steps = []
    for count in counts:
        count = max(count >> shift, int(count > 0))
        steps.append(count if count <= 2 else next(n for n, most in ((3, 4), (4, 7), (5, 12), (6, 19), (7, 99)) if count <= most))
    return 8 * steps[0] + steps[1]


class Chains:
    def __init__(self):
        self.heads, self.back = {}, []

    def enter(self, key, place):
        earlier = self.heads.get(key, 0) if key is not None else 0
        if key is not None:
            self.heads[key] = place
        self.back.append(place - earlier if earlier and place - earlier <= 65_535 else 0)

    def places(self, key, most):
        at = self.heads.get(key, 0)
        while at and most:
            yield at
            at, most = (at - self.back[at] if self.back[at] else 0), most - 1


class Cells(dict):
    def chance(self, at):
        return self.get(at, (32768, 0))[0]

    def learn(self, at, decision, most):
        chance, seen = self.get(at, (32768, 0))
        chance += (((65535 if decision else 0) - chance) * ((2 << 16) // (2 * seen + 3))) >> 16
        self[at] = (max(16, min(65520, chance)) & ~15, min(seen + 1, most))


class TextModel:
    def __init__(self, base, symbols):
        self.symbols, self.history = symbols, bytearray(LEXICON)
        for key, value in leaves("", base):
            if len(self.history) >= 65_536:
                break
            self.history += key.encode()[:64]
            content = value.encode() if type(value) is str else value
            if type(content) is bytes:
                self.history.append(2)
                self.history += content[: max(65_536 - len(self.history), 0)]
            self.history.append(0)
        self.allowed = 36_000 + 160 * (len(self.history) - len(LEXICON))
        self.spent, self.streams = 0, False
        self.triples, self.singles = Chains(), Chains()
        weights = [weight * 256 for weight in TABLES["weights"]]
        self.weights = [weights[at : at + 11] for at in range(0, len(weights), 11)]
        self.stream_weights = [[24_000] * 6 for _ in range(4)]
        self.cells = [Cells() for _ in range(5)]

    def open(self, key, lead):
        if len(self.history) < 131_072:
            self.history += key.encode()[:64] + b"\x02" + lead

    def hash(self, at):
        if at < 3:
            return None
        return (int.from_bytes(self.history[at - 3 : at], "big") * 0x9E3779B1 % 2**32) >> 20

    def index(self):
        for at in range(len(self.triples.back), len(self.history)):
            self.triples.enter(self.hash(at), at)
            self.singles.enter(self.history[at - 1] if at else None, at)

    def match(self, at):
        length = 0
        while length < min(20, at) and self.history[at - 1 - length] == self.history[-1 - length]:
            length += 1
        return length

    def byte(self, guides, content):
        left = self.allowed + 190 * content + 50 * (self.symbols.read - 7) - self.spent
        self.streams = self.streams or left <= 0
        self.index()
        byte = self.streamed(guides[0]) if self.streams else self.searched(guides, left)
        self.history.append(byte)
        for guide in guides:
            self.spent += guide.follow(byte, self.history, 24 if self.streams else 256) // 8
        return byte

    def candidates(self, left):
        places = min((left // 1700) ** 2, 450)
        long_steps = min(places // 2, 200)
        long_max, short_steps, all_max = max(long_steps // 2, min(places, 14)), min(places - long_steps, 250), places * 7 // 10
        found, tried = [], 0
        for at in self.triples.places(self.hash(len(self.history)), long_steps):
            if len(found) >= long_max:
                break
            tried += 1
            if (match := self.match(at)) >= 3:
                found.append((match, self.history[at]))
        if len(found) < long_max:
            for at in self.singles.places(self.history[-1], short_steps):
                if len(found) >= all_max:
                    break
                tried += 1
                if (match := self.match(at)) <= 2:
                    found.append((match, self.history[at]))
        self.spent += 160 + tried
        return found

    def searched(self, guides, left):
        found = self.candidates(left)
        longest = max(found, key=lambda one: one[0], default=(0, 0))
        group = lambda match: (0, 0, 1, 2, 3, 3, 4, 4, 4)[match] if match <= 8 else 5
        alive = [(group(match), byte) for match, byte in found]
        last = byte_kind(self.history[-1])
        node = 1
        for bit in range(7, -1, -1):
            agrees = lambda byte: (byte | 256) >> bit + 1 == node
            slots, counts, best = [None] * 10, [0, 0], 0
            for g in range(5, -1, -1):
                for other, byte in alive:
                    if other == g:
                        counts[byte >> bit & 1] += 1
                if sum(counts):
                    best = max(best, g + 1)
                    slots[g] = SLOT["TEXT_GROUP"] + 64 * g + ratio(counts)
            if longest[0] > 0 and agrees(longest[1]):
                slots[6] = SLOT["TEXT_LONGEST"] + 2 * min(longest[0], 19) + (longest[1] >> bit & 1)
            trust = 0
            for at, name in enumerate(("TEXT_GUIDE_A", "TEXT_GUIDE_B")):
                byte = guides[at].next()
                if byte is not None and agrees(byte):
                    state = guides[at].state()
                    slots[7 + at] = SLOT[name] + 2 * state + (byte >> bit & 1)
                    if at == 0:
                        trust = 1 if state == 0 or state > 7 else 2
            slots[9] = SLOT["TEXT_BYTE"] + 256 * last + node
            decision = self.mix(slots, (3 * best + trust, 21 + 4 * bit + last))
            alive = [one for one in alive if (one[1] >> bit & 1) == decision]
            node = node << 1 | decision
        return node & 255

    def mix(self, slots, sets):
        logits = [0 if slot is None else stretch(self.symbols.slot(slot)[0]) for slot in slots] + [64]
        mixed = [mixed_logit(logits, self.weights[at]) for at in sets]
        decision = int(self.symbols.decide(squash(sum(mixed) >> 1), 16))
        for at, logit in zip(sets, mixed):
            teach(self.weights[at], logits, (65535 * decision - squash(logit)) * 6)
        for slot in slots:
            if slot is not None:
                self.symbols.learn(slot, decision)
        return decision

    def streamed(self, guide):
        by_match = next(self.triples.places(self.hash(len(self.history)), 1), None)
        if by_match is not None:
            length = self.match(by_match)
            by_match = (self.history[by_match], length) if length >= 3 else None
        by_guide = None if guide.next() is None else (guide.next(), guide.state())
        last = bytes(self.history[-4:])
        contexts = (last[3], int.from_bytes(last[2:], "big") + 65_536, int.from_bytes(last, "big"))
        node = 1
        for bit in range(7, -1, -1):
            cells = [((c * 0x9E3779B1 % 2**32) ^ (node * 0x2545F491 % 2**32)) >> 16 for c in contexts]
            logits = [stretch(self.cells[at].chance(cell)) for at, cell in enumerate(cells)] + [0, 0, 64]
            speaks = []
            for at, by in enumerate((by_match, by_guide)):
                if by is not None and (by[0] | 256) >> bit + 1 == node:
                    speaks.append((at, by[1], by[0] >> bit & 1))
                    logit = stretch(self.cells[3 + at].chance(by[1]))
                    logits[3 + at] = logit if by[0] >> bit & 1 else -logit
            weights = self.stream_weights[sum(1 << at for at, _, _ in speaks)]
            chance = squash(mixed_logit(logits, weights))
            decision = int(self.symbols.decide(chance, 16))
            teach(weights, logits, (65535 * decision - chance) * 12)
            for at, cell in enumerate(cells):
                self.cells[at].learn(cell, decision, 14)
            for at, state, predicted in speaks:
                self.cells[3 + at].learn(state, predicted == decision, 15)
            node = node << 1 | decision
        return node & 255


def mixed_logit(logits, weights):
    return max(-2047, min(2047, sum(x * w for x, w in zip(logits, weights)) >> 16))


def teach(weights, logits, error):
    for at, x in enumerate(logits):
        weights[at] += (x * error) >> 18


# ---- section 8: the walk --------------------------------------------------------------------------------------------


class Site:
    """A node of the base under its key, and whether it is within an array."""

    def __init__(self, key, node, in_array):
        self.key, self.node, self.in_array = key, node, in_array


LINE = Node("", "", Running({"base_sequence": 0, "sequence": 0, "base_time_ms": 0, "time_ms": 0}, False))


class Walk:
    """Applies a delta while it reads it: each function returns what the value becomes."""

    def __init__(self, base, context, data):
        self.base, self.context, self.symbols = base, context, Symbols(data)
        self.words, self.text, self.content, self.depth = {}, None, 0, 0

    def spend(self, size):
        self.content += size
        if self.content > NEW_BYTES_MAX:
            raise Refused("TooMuch")

    def deeper(self, walk, *arguments):
        if self.depth >= 64:
            raise Refused("TooDeep")
        self.depth += 1
        made = walk(*arguments)
        self.depth -= 1
        return made

    def bit(self, name, plus=0):
        return self.symbols.bit(SLOT[name] + plus)

    def tree(self, name, plus, bits):
        return self.symbols.tree(SLOT[name] + plus, bits)

    def count(self, name, plus=0):
        return self.symbols.count(SLOT[name] + plus)

    def signed(self, name, plus=0):
        return self.symbols.signed(SLOT[name] + plus)

    def delta(self):
        base = self.base
        self.running = Running(self.context, self.bit("RUNNING"))
        site = Site("", Node("", base, self.running), False)
        if not self.bit("ROOT", kind(base)):
            made = self.fresh("", base, None)
        elif type(base) is Map:
            made = self.deeper(self.map, site, base, True)
        elif self.bit("ROOT_KEPT"):
            made = self.running.advanced("", base)
        else:
            made = self.in_place(site, base)
        self.symbols.finish()
        return made

    def change(self, site, old):
        self.symbols.check()
        if self.bit("SAME_KIND", site.node.kind):
            return self.in_place(site, old)
        return self.fresh(site.key, old, None)

    def in_place(self, site, old):
        number = kind(old)
        if number == 0:
            return None
        if number == 1:
            return not old
        if number == 2:
            return self.integer(site.node, old)
        if number == 3:
            return self.float(old)
        if number == 4:
            return self.splice(site.key, old)
        if number == 5:
            return self.changed_text(site, old)
        if number == 6:
            return self.deeper(self.list, site, old, site.node.children, int(bool(old) and type(old[0]) is Map))
        return self.deeper(self.map, site, old, False)

    # maps

    def map(self, site, base, is_root):
        removed, keys = [], []
        if self.bit("MAP_SHAPE", 2 * is_root + site.in_array):
            which = self.tree("MAP_WHICH", 0, 2)
            if which != 0:
                removed = self.removed(0, len(base))
            if which != 1:
                count = self.count("INSERTED_COUNT") + 1
                self.spend(count)
                guide = name_of(base[removed[0]][0]) if removed else ""
                for _ in range(count):
                    key = self.key(guide)
                    if keys and key_order(keys[-1]) >= key_order(key):
                        raise Refused("KeyOrder")
                    keys.append(key)
        staying = [at for at in range(len(base)) if at not in set(removed)]
        changing, quiet, changed = set(), [], bool(removed or keys)
        for at in staying:
            node = site.node.children[at]
            if node.lively or site.in_array and len(base) <= 8:
                if node.lively:
                    changes = self.bit("LIVELY", node.kind)
                else:
                    value = base[at][1]
                    text = type(value) is str
                    changes = self.bit("RECORD", 16 + self.shape(name_of(base[at][0]), value) if text else node.kind)
                if changes:
                    changing.add(at)
                    changed = True
            else:
                quiet.append(at)
        if quiet:
            least = int(not changed and not is_root)
            k = 1 if least else 0 if is_root and len(quiet) == len(staying) else 2
            count = self.count("QUIET_COUNT", 50 * k) + least
            if count > len(quiet):
                raise Refused("Position")
            picked = self.symbols.pick(count, [site.node.children[at].weight for at in quiet])
            changing.update(quiet[at] for at in picked)
        made = []
        for at in staying:
            key, value = base[at]
            name = name_of(key)
            if at in changing:
                value = self.change(Site(name, site.node.children[at], site.in_array), value)
            else:
                value = self.running.advanced(name, value)
            made.append((key, value))
        made += self.new_entries(base, removed, keys)
        made.sort(key=lambda entry: key_order(entry[0]))
        if any(a[0] == b[0] and type(a[0]) is type(b[0]) for a, b in zip(made, made[1:])):
            raise Refused("KeyTwice")
        return Map(made)

    def new_entries(self, base, removed, keys):
        left, made = list(removed), []
        for at, key in enumerate(keys):
            if left and self.bit("RENAMED"):
                value = self.running.advanced(name_of(key), base[left.pop(self.symbols.uniform(len(left)))][1])
            else:
                if at < len(removed):
                    sibling = base[removed[at]][1]
                else:
                    behind = [value for own, value in base if key_order(own) >= key_order(key)]
                    sibling = (behind or [base[-1][1] if base else NOTHING])[0]
                value = self.fresh(name_of(key), sibling, None)
            made.append((key, value))
        return made

    def removed(self, of_list, n):
        count = self.count("REMOVED_COUNT", 50 * of_list) + 1
        if count > n:
            raise Refused("Position")
        return self.symbols.pick(count, [1] * n)

    def key(self, guide):
        if self.bit("KEY_NUMBER"):
            return in_range(self.signed("KEY_INT"))
        return utf8(self.literal("\x01", guide.encode(), b"", b""))

    # lists

    def list(self, site, base, nodes, h):
        removed, places = [], []
        if self.bit("LIST_SHAPE", h):
            which = self.tree("LIST_WHICH", 4 * h, 2)
            if which != 0:
                count = self.count("REMOVED_COUNT", 50) + 1
                if count > len(base):
                    raise Refused("Position")
                last = self.bit("REMOVED_LAST", h)
                removed = list(range(len(base) - count, len(base))) if last else self.symbols.pick(count, [1] * len(base))
            if which != 1:
                count = self.count("INSERTED_COUNT", 50) + 1
                self.spend(count)
                kept, where = len(base) - len(removed), self.tree("INSERTED_WHERE", 4 * h, 2)
                if where == 0:
                    places = list(range(count))
                elif where == 1:
                    places = list(range(kept, kept + count))
                else:
                    places = self.symbols.pick(count, [1] * (kept + count))
        gone = set(removed)
        staying = [at for at in range(len(base)) if at not in gone]
        site_of = lambda at: Site(site.key, nodes[at], True)
        made = {}
        if staying:
            least = int(not removed and not places)
            count = self.count("ITEM_COUNT", 50 * (2 * h + least)) + least
            if count > len(staying):
                raise Refused("Position")
            for at in self.symbols.pick(count, [nodes[at].weight for at in staying]):
                made[staying[at]] = self.change(site_of(staying[at]), base[staying[at]])
        left, target, beside, next_kept = list(removed), [], NOTHING, 0
        new = set(places)
        while next_kept < len(staying) or len(target) in new:
            if len(target) not in new:
                at = staying[next_kept]
                target.append(made[at] if at in made else self.keep(site.key, base[at], h))
                beside, next_kept = base[at], next_kept + 1
                continue
            self.symbols.check()
            following = base[staying[next_kept]] if next_kept < len(staying) else NOTHING
            if left and self.bit("MOVED", h):
                at = left.pop(self.symbols.uniform(len(left)))
                changes = self.bit("MOVED_CHANGED")
                target.append(self.change(site_of(at), base[at]) if changes else self.keep(site.key, base[at], h))
                beside = base[at]
            else:
                sibling = following if beside is NOTHING else beside
                beside = self.fresh(site.key, sibling, None if following is NOTHING else following)
                target.append(beside)
        return target

    def keep(self, key, item, h):
        return item if h == 2 else self.running.advanced(key, item)

    # numbers

    def integer(self, node, old):
        if node.kind == 1:
            return in_range(self.running.uptime(old) + self.signed("UPTIME"))
        if bits := node.page_bits:
            if not self.bit("PAGED", int(bits >= 12)):
                return in_range(old + self.signed("PAGES", 3 * 288))
            return in_range(old + (self.signed("PAGES", 288 * min((old >> bits).bit_length() // 6, 2)) << bits))
        size = abs(old).bit_length()
        if node.kind in (3, 4):
            return in_range(old + self.signed("LIVELY_INT", 288 * min(size // 8, 2)))
        return in_range(old + self.signed("SMALL_INT" if node.kind == 5 and size < 16 else "SETTLED_INT"))

    def float(self, old):
        known = decimal(old)
        if not self.bit("DECIMAL", int(known is not None)):
            bits = int(old) + self.signed("FLOAT_BITS")
            if not 0 <= bits < 2**64:
                raise Refused("Number")
            return Float(bits)
        d = self.tree("DIGITS", 8 * (7 if known is None else known[1]), 3)
        if d > 6:
            raise Refused("Number")
        expected = 0
        if known is not None:
            k, d0 = known
            expected = k * 10 ** (d - d0) if d >= d0 else (abs(k) // 10 ** (d0 - d)) * (1 if k >= 0 else -1)
        k = expected + self.signed("DECIMAL_BY", 288 * d)
        if not -(2**63) <= k < 2**63:
            raise Refused("Number")
        return Float((bits_of(float(k) / 10.0**d) + self.tree("ULPS", 8 * d, 3) - 3) % 2**64)

    # texts

    def under(self, key):
        if key not in self.words:
            self.words[key] = Words([v for k, v in leaves("", self.base) if k == key and type(v) is str])
        return self.words[key]

    def shape(self, key, text):
        encoded = text.encode()
        if len(encoded) > 120 or "\n" in text:
            return 3
        if self.under(key).is_vocabulary():
            return 0
        return 1 if len(encoded) < 40 and 2 * sum(c in "0123456789." for c in text) > len(encoded) else 2

    def changed_text(self, site, old):
        if site.node.kind != 0:
            text = self.text_from(site.key, old)
            self.under(site.key).add(text)
            return text
        if not self.bit("CLOCK_KIND"):
            return self.text_from(site.key, old)
        return self.moment("CLOCK", self.running.clock(moment(old)))

    def moment(self, name, expected):
        return written(expected[0] + self.signed(name) * (1 if expected[1] else 1000), expected[1])

    def text_from(self, key, old):
        shape = self.shape(key, old)
        how = self.tree("TEXT_HOW", 4 * shape, 2)
        if how == 0:
            return self.word(key, shape, self.under(key).rank(old))
        if how == 1:
            return self.bump(old)
        if how == 2:
            return utf8(self.splice(key, old.encode()))
        return self.lines(old)

    def word(self, key, shape, skipped):
        words = self.under(key).ranked
        count = len(words) - (skipped is not None)
        if count == 0:
            raise Refused("Position")
        if shape == 0 or count < 3:
            rank = self.count("WORD_RANK", 50 * min(shape, 2))
        else:
            rank = self.symbols.uniform(count)
        rank += skipped is not None and rank >= skipped
        if rank >= len(words):
            raise Refused("Position")
        self.spend(len(words[rank][0].encode()))
        return words[rank][0]

    def bump(self, old):
        runs, at = [], 0
        while at < len(old):
            end = at
            while end < len(old) and old[end] in "0123456789":
                end += 1
            if 1 <= end - at <= 15:
                runs.append((at, end))
            at = max(end, at + 1)
        run = len(runs) - 1 - self.count("BUMP_RUN")
        if run < 0:
            raise Refused("Position")
        down, by = self.bit("BUMP_DOWN"), self.count("BUMP_BY") + 1
        numbers = [int(old[start:end]) for start, end in runs]
        numbers[run] += -by if down else by
        if numbers[run + 1 :]:
            how = self.tree("BUMP_REST", 0, 2)
            for behind in range(run + 1, len(numbers)):
                if how == 1:
                    numbers[behind] = 0
                elif how > 1:
                    self.symbols.check()
                    numbers[behind] = self.count("BUMP_VALUE")
        if numbers[run] < 0:
            raise Refused("Number")
        text, copied = old[: runs[run][0]], runs[run][0]
        for (start, end), number in list(zip(runs, numbers))[run:]:
            width = end - start if old[start] == "0" else 0
            text += old[copied:start] + str(number).zfill(width)
            copied = end
        text += old[copied:]
        self.spend(len(text.encode()))
        return text

    def lines(self, old):
        separator = "\n" if "\n" in old else None
        if separator is None and len(old.encode()) > 240:
            separator = " " if " " in old else "," if "," in old else None
        if separator is None:
            raise Refused("Position")
        lines = old.split(separator)
        return separator.join(self.list(Site("\x03", LINE, False), lines, [LINE] * len(lines), 2))

    def splice(self, key, old):
        head = tail = 0
        if len(old) > 48 and self.bit("TRIMMED"):
            head = self.symbols.uniform(len(old) + 1)
            tail = self.symbols.uniform(len(old) - head + 1)
        middle, end = old[head : len(old) - tail], old[len(old) - tail :]
        return old[:head] + self.literal(key, middle, b"", old[max(head - 12, 0) : head]) + end

    def literal(self, key, guide_a, guide_b, lead):
        if self.text is None:
            self.text = TextModel(self.base, self.symbols)
        self.text.open(key, lead)
        guides, made = (Guide(guide_a), Guide(guide_b)), bytearray()
        while True:
            self.symbols.check()
            byte = self.text.byte(guides, self.content)
            if byte == 0:
                return bytes(made)
            if byte == 1:
                byte = (self.text.byte(guides, self.content) - 2) % 256
            made.append(byte)
            self.spend(1)

    # values without a past

    def fresh(self, key, sibling, following):
        self.symbols.check()
        s = 8 if sibling is NOTHING else kind(sibling)
        number = self.tree("KIND", 8 * s, 3)
        if number == 0:
            return None
        if number == 1:
            return bool(self.bit("NEW_BOOL", int(sibling) if s == 1 else 2))
        if number == 2:
            return in_range(sibling + self.signed("NEW_INT", 288) if s == 2 else self.signed("NEW_INT"))
        if number == 3:
            return self.float(sibling if s == 3 else Float(0))
        if number == 4:
            return self.literal(key, sibling if s == 4 else b"", b"", b"")
        if number == 5:
            return self.new_text(key, sibling if s == 5 else "", following if type(following) is str else "")
        if number == 6:
            return self.deeper(self.new_array, key, sibling if s == 6 else [])
        return self.deeper(self.new_map, sibling if s == 7 else Map(), following if type(following) is Map else Map())

    def new_text(self, key, sibling, following):
        shape = self.shape(key, sibling)
        how = self.tree("NEW_TEXT_HOW", 4 * shape, 2)
        if how == 0:
            text = self.word(key, shape, None)
        elif how == 2:
            fine = bool(self.bit("CLOCK_KIND", 1))
            now = self.running.now if fine else self.running.now // 1000 * 1000
            text = self.moment("MOMENT", (now, fine))
            self.spend(len(text))
        else:
            text = utf8(self.literal(key, sibling.encode(), following.encode(), b""))
        self.under(key).add(text)
        return text

    def new_array(self, key, sibling):
        count = self.count("LIST_LENGTH")
        self.spend(count)
        beside, items = sibling[0] if sibling else NOTHING, []
        for _ in range(count):
            beside = self.fresh(key, beside, None)
            items.append(beside)
        return items

    def new_map(self, sibling, following):
        entries = Map()
        if sibling and self.bit("SAME_KEYS"):
            self.spend(len(sibling))
            for key, beside in sibling:
                self.spend(len(name_of(key).encode()))
                entries.append((key, self.fresh(name_of(key), beside, following.get(key))))
            return entries
        count = self.count("MAP_LENGTH")
        self.spend(count)
        for _ in range(count):
            key = self.key("")
            beside = next((v for k, v in sibling if type(k) is type(key) and k == key), NOTHING)
            entries.append((key, self.fresh(name_of(key), beside, None)))
        if any(key_order(a[0]) >= key_order(b[0]) for a, b in zip(entries, entries[1:])):
            raise Refused("KeyOrder")
        return entries


NOTHING = object()
"""No sibling: None is a value."""


def in_range(number):
    if not INT_MIN <= number <= INT_MAX:
        raise Refused("Number")
    return number


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("NotUtf8") from None


def bits_of(number):
    return struct.unpack(">Q", struct.pack(">d", number))[0]


def decimal(value):
    """k and d of section 8, *Float*."""
    number = value.by_value()
    for d in range(7):
        scaled = number * 10.0**d
        if scaled != scaled or abs(scaled) > 2**52 + 1:
            return None
        k = int(abs(scaled) + 0.5) if abs(scaled) < 2**51 else int(abs(scaled))
        if abs(scaled) < 2**51 and k - abs(scaled) > 0.5:
            k -= 1
        k = -k if scaled < 0 else k
        if abs(k) > 2**52:
            return None
        apart = int(value) - bits_of(float(k) / 10.0**d)
        apart = (apart + 2**63) % 2**64 - 2**63
        if abs(apart) <= 3:
            return k, d
    return None


def apply(base, delta, context):
    """The target that a packed delta makes of its base."""
    try:
        packed = Cbor(delta).whole()
    except Refused:
        raise Refused("Frame") from None
    if type(packed) is not bytes:
        raise Refused("NotBytes")
    return Walk(base, context, packed).delta()


# ---- section 10: the vectors ----------------------------------------------------------------------------------------


def check(folder):
    done, failed = 0, []
    sys.setrecursionlimit(10_000)

    def expect(about, found, wanted):
        nonlocal done
        done += 1
        if found != wanted:
            failed.append(f"{about}: {str(found)[:100]} in place of {str(wanted)[:100]}")

    def refusal(act):
        try:
            act()
        except Refused as refused:
            return str(refused)
        return ""

    read = lambda text: Cbor(bytes.fromhex(text)).whole()
    cbor = json.loads((folder / "cbor.json").read_text())
    for case in cbor["accepted"]:
        expect("cbor " + case["hex"], to_cbor(read(case["hex"])).hex(), case["hex"])
    for case in cbor["refused"]:
        expect("cbor " + case["hex"], refusal(lambda: read(case["hex"])), case["error"])
    deltas = json.loads((folder / "deltas.json").read_text())
    for case in deltas["deltas"]:
        try:
            made = to_cbor(apply(read(case["base"]), bytes.fromhex(case["delta"]), case["context"])).hex()
        except Refused as refused:
            made = f"refused: {refused}"
        expect(case["about"], made, case["target"])
    for case in deltas.get("refused", []):
        act = lambda: apply(read(case["base"]), bytes.fromhex(case["delta"]), case["context"])
        expect("refused " + case["delta"][:60], refusal(act), case["error"])
    return done, failed


if __name__ == "__main__":
    checked, wrong = check(pathlib.Path(sys.argv[1]))
    for line in wrong:
        print(line)
    print(f"{checked - len(wrong)} of {checked} vectors")
    sys.exit(bool(wrong))
