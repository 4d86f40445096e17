"""The packed delta: delta/FORMAT.md, sections 8 and 9. `coder.py` has 3 to 5, `survey.py` 6, `text.py` 7."""
import re

import cbor
from cbor import Float, bits_of, number_of, refuse_unless
from coder import Coder
from survey import ARRAY, BOOL, BYTES, EMPTY, FLOAT, INT, MAP, NONE, NULL, TEXT
from survey import Node, Runners, Words, kind, leaves, name_of, written
from text import TextModel

def in_range(number, bits=64):
    refuse_unless(-(1 << bits) <= number < 1 << bits, "Number")
    return number

def in_order(entries, keys=None):
    """The map of the entries. Refused if `keys` did not stand in order."""
    made = dict(sorted(entries, key=lambda entry: cbor.encode(entry[0])))
    refuse_unless(keys in (None, list(made)), "KeyOrder")
    return made

class Walk:
    """Applies a delta while it reads it: each function returns what the value becomes."""

    def __init__(self, base, context, coder):
        self.base, self.context, self.coder = base, context, coder
        self.bit, self.tree, self.count, self.signed = coder.bit, coder.tree, coder.count, coder.signed
        self.words, self.content, self.literal = {}, 0, TextModel(self).literal

    def spend(self, size):
        self.content += size
        refuse_unless(self.content <= 262_144, "TooMuch")

    def delta(self):
        self.runners = Runners(self.context, self.bit("RUNNING"))
        root = Node("", self.base, self.runners)
        if not self.bit("ROOT", kind(self.base)):
            made = self.fresh("", self.base, NONE, 0)
        elif type(self.base) is not dict and self.bit("ROOT_KEPT"):
            made = self.runners.advanced("", self.base)
        else:
            made = self.in_place(root)
        refuse_unless(self.coder.at >= len(self.coder.data), "Trailing")
        return made

    def change(self, node):
        if self.bit("SAME_KIND", node.kind):
            return self.in_place(node)
        return self.fresh(node.key, node.value, NONE, node.depth)

    def in_place(self, node):
        old = node.value
        return {
            NULL: lambda: None,
            BOOL: lambda: not old,
            INT: lambda: self.integer(node),
            FLOAT: lambda: self.float(old),
            BYTES: lambda: self.splice(node.key, old),
            TEXT: lambda: self.text(node),
            ARRAY: lambda: self.list(node, int(kind((old + [None])[0]) == MAP)),
            MAP: lambda: self.map(node),
        }[kind(old)]()

    def gone_and_new(self, which, total, plus=0, h=None):
        """The places of what goes, and how many come."""
        gone, new = [], 0
        if which != 0:
            count = self.count("REMOVED_COUNT", plus) + 1
            refuse_unless(count <= total, "Position")
            last = h is not None and self.bit("REMOVED_LAST", h)
            gone = [*range(total - count, total)] if last else self.coder.pick(count, [1] * total)
        if which != 1:
            new = self.count("INSERTED_COUNT", plus) + 1
            self.spend(new)
        return gone, new

    def map(self, node):
        entries, gone, keys = list(node.value.items()), [], []
        if self.bit("MAP_SHAPE", 2 * node.is_root + node.in_array):
            gone, new = self.gone_and_new(self.tree("MAP_WHICH", 0, 2), len(entries))
            keys = [self.key(name_of(entries[gone[0]][0]) if gone else "") for _ in range(new)]
            in_order(zip(keys, keys), keys)
        staying = [at for at in range(len(entries)) if at not in gone]
        made = {entries[at][0]: node.children[at] for at in staying}
        changing = self.changing(node, list(made.values()), bool(gone or keys))
        for key, child in made.items():
            changes = child in changing
            made[key] = self.change(child) if changes else self.runners.advanced(child.key, child.value)
        removed = [entries[at] for at in gone]
        left = [value for _, value in removed]
        for rank, key in enumerate(keys):
            refuse_unless(key not in made, "KeyTwice")
            if left and self.bit("RENAMED"):
                made[key] = self.runners.advanced(name_of(key), left.pop(self.coder.uniform(len(left))))
            else:
                behind = [entry for entry in entries if cbor.encode(entry[0]) >= cbor.encode(key)]
                sibling = (removed[rank:rank + 1] + behind + entries[-1:] + [(None, NONE)])[0][1]
                made[key] = self.fresh(name_of(key), sibling, NONE, node.depth + 1)
        return in_order(made.items())

    def changing(self, node, children, has_changed):
        is_small = node.in_array and len(node.value) <= 8
        changing, quiet = set(), [child for child in children if not child.lively and not is_small]
        for child in children:
            changes = False
            if child.lively:
                changes = self.bit("LIVELY", child.kind)
            elif is_small:
                shape = 16 + self.shape(child.key, child.value) if type(child.value) is str else child.kind
                changes = self.bit("RECORD", shape)
            if changes:
                changing.add(child)
        if quiet:
            least = int(not (has_changed or changing or node.is_root))
            k = 1 if least else 0 if node.is_root and len(quiet) == len(children) else 2
            count = self.count("QUIET_COUNT", 50 * k) + least
            changing.update(quiet[at] for at in self.coder.pick(count, [child.weight for child in quiet]))
        return changing

    def key(self, guide=""):
        if self.bit("KEY_NUMBER"):
            return in_range(self.signed("KEY_INT"))
        return self.literal("\x01", guide.encode()).decode()

    def list(self, node, h):
        children, gone, places, made = node.children, [], [], {}
        if self.bit("LIST_SHAPE", h):
            gone, new = self.gone_and_new(self.tree("LIST_WHICH", 4 * h, 2), len(children), 50, h)
            kept = len(children) - len(gone)
            if new:
                ends = {0: range(new), 1: range(kept, kept + new)}
                where = self.tree("INSERTED_WHERE", 4 * h, 2)
                places = ends[where] if where in ends else self.coder.pick(new, [1] * (kept + new))
        staying = [child for at, child in enumerate(children) if at not in gone]
        if staying:
            least = int(not gone and not places)
            count = self.count("ITEM_COUNT", 50 * (2 * h + least)) + least
            for at in self.coder.pick(count, [child.weight for child in staying]):
                made[staying[at]] = self.change(staying[at])

        left, target, beside, waiting = [children[at] for at in gone], [], NONE, staying[::-1]
        for at in range(len(staying) + len(places)):
            after = waiting[-1].value if waiting else NONE
            moves = at in places and left and self.bit("MOVED", h)
            if at in places and not moves:
                beside = self.fresh(node.key, after if beside is NONE else beside, after, node.depth + 1)
                target.append(beside)
                continue
            child = left.pop(self.coder.uniform(len(left))) if moves else waiting.pop()
            if moves and self.bit("MOVED_CHANGED"):
                made[child] = self.change(child)
            beside = child.value
            kept = beside if h == 2 or child in made else self.runners.advanced(node.key, beside)
            target.append(made.get(child, kept))
        return target

    def integer(self, node):
        old, size, bits, plus = node.value, abs(node.value).bit_length(), 0, 0
        if node.kind == 1:
            name, old = "UPTIME", self.runners.of(node.key, old)[1]
        elif node.page_bits:
            bits = node.page_bits * self.bit("PAGED", int(node.page_bits >= 12))
            name, plus = "PAGES", 288 * min((size - bits) // 6, 2) if bits else 3 * 288
        elif node.kind in (3, 4):
            name, plus = "LIVELY_INT", 288 * min(size // 8, 2)
        else:
            name = "SMALL_INT" if node.kind == 5 and size < 16 else "SETTLED_INT"
        return in_range(old + (self.signed(name, plus) << bits))

    def float(self, old):
        k, d0 = decimal(old)
        if not self.bit("DECIMAL", int(d0 < 7)):
            bits = old.bits + self.signed("FLOAT_BITS")
            refuse_unless(0 <= bits < 2**64, "Number")
            return Float(bits)
        d = self.tree("DIGITS", 8 * d0, 3)
        refuse_unless(d <= 6, "Number")
        expected = k * 10 ** (d - d0) if d >= d0 else (abs(k) // 10 ** (d0 - d)) * (1 if k > 0 else -1)
        k = in_range(expected + self.signed("DECIMAL_BY", 288 * d), 63)
        return Float((bits_of(float(k) / 10.0**d) + self.tree("ULPS", 8 * d, 3) - 3) % 2**64)

    def under(self, key):
        if key not in self.words:
            self.words[key] = Words([v for k, v in leaves("", self.base) if k == key and type(v) is str])
        return self.words[key]

    def shape(self, key, text):
        size = len(text.encode())
        if size > 120 or "\n" in text:
            return 3
        digits = size < 40 and 2 * sum(c in "0123456789." for c in text) > size
        return 0 if self.under(key).is_vocabulary() else 1 if digits else 2

    def text(self, node):
        key, old = node.key, node.value
        if node.kind == 0 and self.bit("CLOCK_KIND"):
            ms, unit = self.runners.of(key, old)[1]
            return written(ms + self.signed("CLOCK") * unit, unit)
        shape = self.shape(key, old)
        ways = (lambda: self.word(key, shape, old), lambda: self.bump(old),
                lambda: self.splice(key, old.encode()).decode(), lambda: self.lines(old))
        text = ways[self.tree("TEXT_HOW", 4 * shape, 2)]()
        if node.kind != 0:
            self.under(key).add(text)
        return text

    def word(self, key, shape, skipped=None):
        words = [text for text in self.under(key).texts if text != skipped]
        by_count = shape == 0 or len(words) < 3
        rank = self.count("WORD_RANK", 50 * min(shape, 2)) if by_count else self.coder.uniform(len(words))
        refuse_unless(rank < len(words), "Position")
        self.spend(len(words[rank].encode()))
        return words[rank]

    def bump(self, old):
        parts = re.split("([0-9]+)", old)
        runs = [at for at in range(1, len(parts), 2) if len(parts[at]) <= 15]
        run = len(runs) - 1 - self.count("BUMP_RUN")
        refuse_unless(run >= 0, "Position")
        down, by = self.bit("BUMP_DOWN"), self.count("BUMP_BY") + 1
        how = self.tree("BUMP_REST", 0, 2) if runs[run + 1:] else 0
        for at in runs[run:]:
            number, width = int(parts[at]), len(parts[at]) if parts[at][0] == "0" else 0
            if at == runs[run]:
                number += -by if down else by
            elif how > 0:
                number = self.count("BUMP_VALUE") if how > 1 else 0
            refuse_unless(number >= 0, "Number")
            parts[at] = str(number).zfill(width)
        self.spend(len("".join(parts).encode()))
        return "".join(parts)

    def lines(self, old):
        long = len(old.encode()) > 240
        separators = [separator for separator in "\n ,"[:3 if long else 1] if separator in old]
        refuse_unless(separators, "Position")
        nothing_runs = Runners((0, 0, 0, 0), False)
        lines = self.list(Node("\x03", old.split(separators[0]), nothing_runs), 2)
        refuse_unless(all(type(line) is str for line in lines), "Position")
        return separators[0].join(lines)

    def splice(self, key, old):
        head = tail = 0
        if len(old) > 48 and self.bit("TRIMMED"):
            head = self.coder.uniform(len(old) + 1)
            tail = self.coder.uniform(len(old) - head + 1)
        middle, end = old[head:len(old) - tail], old[len(old) - tail:]
        return old[:head] + self.literal(key, middle, lead=old[max(head - 12, 0):head]) + end

    def fresh(self, key, sibling, after, depth):
        beside = kind(sibling)
        number = self.tree("KIND", 8 * beside, 3)
        refuse_unless(number < ARRAY or depth < 64, "TooDeep")
        sibling, after = (value if kind(value) == number else EMPTY[number] for value in (sibling, after))
        return {
            NULL: lambda: None,
            BOOL: lambda: bool(self.bit("NEW_BOOL", int(sibling) if beside == BOOL else 2)),
            INT: lambda: in_range(sibling + self.signed("NEW_INT", 288 if beside == INT else 0)),
            FLOAT: lambda: self.float(sibling),
            BYTES: lambda: self.literal(key, sibling),
            TEXT: lambda: self.new_text(key, sibling, after),
            ARRAY: lambda: self.new_array(key, sibling, depth + 1),
            MAP: lambda: self.new_map(sibling, after, depth + 1),
        }[number]()

    def new_text(self, key, sibling, after):
        shape = self.shape(key, sibling)
        how = self.tree("NEW_TEXT_HOW", 4 * shape, 2)
        if how == 0:
            text = self.word(key, shape)
        elif how == 2:
            unit = 1 if self.bit("CLOCK_KIND", 1) else 1000
            text = written(self.runners.now // unit * unit + self.signed("MOMENT") * unit, unit)
            self.spend(len(text))
        else:
            text = self.literal(key, sibling.encode(), after.encode()).decode()
        self.under(key).add(text)
        return text

    def new_array(self, key, sibling, depth):
        count, items = self.count("LIST_LENGTH"), []
        self.spend(count)
        for _ in range(count):
            items.append(self.fresh(key, (items[-1:] or sibling[:1] or [NONE])[0], NONE, depth))
        return items

    def new_map(self, sibling, after, depth):
        same = bool(sibling) and self.bit("SAME_KEYS")
        after = after if same else {}
        count = len(sibling) if same else self.count("MAP_LENGTH")
        keys, values = list(sibling) if same else [], []
        self.spend(count)
        for at in range(count):
            if not same:
                keys.append(self.key())
            key, name = keys[at], name_of(keys[at])
            self.spend(len(name.encode()) if same else 0)
            values.append(self.fresh(name, sibling.get(key, NONE), after.get(key, NONE), depth))
        return in_order(zip(keys, values), keys)

def decimal(value):
    """k and d of *Float*; 0 and 7 where there are none."""
    number = number_of(value.bits)
    for d in range(7):
        scaled = abs(number) * 10.0**d
        if scaled <= 2**52:  # no NaN is
            k = int(scaled + 0.5) * (-1 if number < 0 else 1)
            apart = (value.bits - bits_of(float(k) / 10.0**d) + 2**63) % 2**64 - 2**63
            if abs(apart) <= 3:
                return k, d
    return 0, 7

def decode(base, packed, context):
    """The target of a packed delta on a base, in the context (base sequence, sequence, base time, time)."""
    packed = cbor.decode(packed)
    refuse_unless(type(packed) is bytes, "NotBytes")
    return Walk(base, context, Coder(packed)).delta()
