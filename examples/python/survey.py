"""What the base of a delta shows: delta/FORMAT.md, section 6."""
from collections import Counter
from datetime import datetime, timedelta

from cbor import Float, refuse_unless
from coder import TABLES

NULL, BOOL, INT, FLOAT, BYTES, TEXT, ARRAY, MAP = range(8)
KINDS = (type(None), bool, int, Float, bytes, str, list, dict, object)
EMPTY = (None, False, 0, Float(0), b"", "", [], {})
NONE = object()  # in the place of a sibling: there is none
EPOCH = datetime(1970, 1, 1)
YEARS = range(-62_135_596_800_000, 253_402_300_800_000)  # in milliseconds; Python lacks the year 0
WEIGHTS = (20, 20, 20, 20, 20, 4, 2, 2, 2, 30, 1, 3, 4, 2, 2)  # by class

def kind(value):
    return KINDS.index(type(value))

def has(key, words):
    return any(word in key for word in TABLES[words + "_words"])

def name_of(key):
    return key if type(key) is str else ""

def within(key, value):
    """Key and value of what stands directly in an array or map."""
    if type(value) is dict:
        return [(name_of(own), item) for own, item in value.items()]
    return [(key, item) for item in value] if type(value) is list else []

def leaves(key, value):
    below = [leaf for own, item in within(key, value) for leaf in leaves(own, item)]
    return below if type(value) in (list, dict) else [(key, value)]

def written(ms, unit):
    refuse_unless(ms in YEARS, "Number")
    time = EPOCH + timedelta(milliseconds=ms)
    return time.isoformat("T", "milliseconds" if unit == 1 else "seconds") + "Z"

def moment(text):
    """Milliseconds, and how many of them the text counts in; none if it is no time."""
    unit = 1 if len(text) == 24 else 1000
    try:
        ms = (datetime.fromisoformat(text[:-1]).replace(tzinfo=None) - EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        return None
    return (ms, unit) if written(ms, unit) == text else None

class Runners:
    """The context, and what is expected to move with it. Without the bit RUNNING nothing is."""

    def __init__(self, context, running):
        self.base_sequence, self.sequence, *times = context
        (self.before, self.now), self.running = (min(time, 2**63 - 1) for time in times), running

    def of(self, key, value):
        """Which runner a leaf is, and what it should become: a clock's is in milliseconds, with the unit."""
        if self.running and type(value) is str and (time := moment(value)):
            ms, unit = time
            if abs(ms - self.before) <= 90_000:
                return "clock", (ms + (self.now // unit - self.before // unit) * unit, unit)
        if self.running and type(value) is int:
            if has(key, "uptime"):
                new = value + self.now // 1000 - self.before // 1000
                return "uptime", new if -(2**64) <= new < 2**64 else value
            if value == self.base_sequence > 0 and has(key, "counter"):
                return "counter", self.sequence
        return None, value

    def advanced(self, key, value):
        """What becomes of a value that no decision speaks of."""
        if type(value) is list:
            return [self.advanced(key, item) for item in value]
        if type(value) is dict:
            return {own: self.advanced(name_of(own), item) for own, item in value.items()}
        runner, new = self.of(key, value)
        return new if runner != "clock" else written(*new) if new[0] in YEARS else value

class Node:
    """A value of the base with its key, class, weight, liveliness, page bits and children in order."""

    def __init__(self, key, value, runners, depth=0, in_array=False):
        self.key, self.value, self.depth, self.is_root = key, value, depth, depth == 0
        self.in_array, self.page_bits = in_array, 0
        below = depth + 1, in_array or type(value) is list
        self.children = [Node(own, item, runners, *below) for own, item in within(key, value)]
        self.kind = self.class_of(runners.of(key, value)[0])
        self.lively = self.kind < 5 or any(child.lively for child in self.children)
        self.weight = min(WEIGHTS[self.kind] + sum(child.weight for child in self.children), 2**32 - 1)
        large = [child for child in self.children if type(child.value) is int and child.value > 65536]
        for child in self.children if type(value) is dict else ():
            if child.kind == 3:
                word = child.key.split("_")[0]
                zeros = [(n.value & -n.value).bit_length() - 1 for n in large if n.key.split("_")[0] == word]
                child.page_bits = next((bits for bits in (12, 10, 9) if bits <= min(zeros, default=0)), 0)

    def class_of(self, runner):
        if runner in ("clock", "uptime"):
            return 0 if runner == "clock" else 1
        if type(self.value) is int:
            lively = 3 if self.value >= 65536 else 4
            return 6 if has(self.key, "settled") else lively if has(self.key, "lively") else 5
        if type(self.value) is str:
            return 9 if has(self.key, "version") else 10 if self.key == "id" or has(self.key, "name") else 11
        return {NULL: 8, BOOL: 7, FLOAT: 2, BYTES: 14, ARRAY: 12, MAP: 13}[kind(self.value)]

class Words:
    """The texts under one key, by falling frequency."""

    def __init__(self, texts):
        self.counts = Counter(texts)
        self.texts = [text for text, _ in self.counts.most_common()]

    def is_vocabulary(self):
        return len(self.texts) <= 4 and sum(self.counts.values()) >= 3 * len(self.texts)

    def add(self, text):
        if len(text.encode()) > 4096:
            return
        if text not in self.counts:
            self.texts.append(text)
        passed = next(at for at, other in enumerate(self.texts) if self.counts[other] == self.counts[text])
        at = self.texts.index(text)
        self.texts[passed], self.texts[at] = text, self.texts[passed]
        self.counts[text] += 1
