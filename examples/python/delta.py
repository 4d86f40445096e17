"""The packed delta: delta/FORMAT.md, sections 6, 8 and 9. `coder.py` has 3 to 5, `text.py` 7."""
import datetime
import struct
from collections import namedtuple

import cbor
from cbor import Float, Refused, refuse_unless
from coder import TABLES, Coder
from text import TextModel

KINDS = (type(None), bool, int, Float, bytes, str, list, dict)
NULL, BOOL, INT, FLOAT, BYTES, TEXT, ARRAY, MAP = range(8)
NOTHING = object()  # no sibling: None is a value
EPOCH = datetime.datetime(1970, 1, 1)
Site = namedtuple("Site", "key node in_array")


def kind(value):
    return KINDS.index(type(value)) if value is not NOTHING else 8


def has(key, words):
    return any(word in key for word in TABLES[words + "_words"])


def name_of(key):
    return key if type(key) is str else ""


def in_range(number, bits=64):
    refuse_unless(-(1 << bits) <= number < 1 << bits, "Number")
    return number


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("NotUtf8") from None


def leaves(key, value):
    """Key and value of each leaf, in order."""
    if type(value) not in (list, dict):
        yield key, value
    for own, item in (value.items() if type(value) is dict else ((key, item) for item in value) if type(value) is list else ()):
        yield from leaves(name_of(own), item)


# ---- section 6: what the base shows ------------------------------------------------------------------

def moment(text):
    """Milliseconds, and 1 where they show, else 1000; none if the text is no such time."""
    for form, unit in (("%Y-%m-%dT%H:%M:%SZ", 1000), ("%Y-%m-%dT%H:%M:%S.%fZ", 1)):
        try:
            ms = (datetime.datetime.strptime(text, form) - EPOCH) // datetime.timedelta(milliseconds=1)
        except ValueError:
            continue
        if written(ms, unit) == text:
            return ms, unit
    return None


def written(ms, unit):
    try:
        return (EPOCH + datetime.timedelta(milliseconds=ms)).isoformat("T", "seconds" if unit > 1 else "milliseconds") + "Z"
    except OverflowError:
        raise Refused("Number") from None


class Running:
    def __init__(self, context, on):
        self.on, (self.base_sequence, self.sequence) = on, context[:2]
        self.before, self.now = (min(time, 2**63 - 1) for time in context[2:])

    def kind(self, key, value):
        if not self.on:
            return None
        if type(value) is str:
            time = moment(value)
            return "clock" if time and abs(time[0] - self.before) <= 90_000 else None
        if type(value) is not int:
            return None
        is_counter = value == self.base_sequence > 0 and has(key, "counter")
        return "uptime" if has(key, "uptime") else "counter" if is_counter else None

    def clock(self, old):
        ms, unit = moment(old)
        return ms + (self.now // unit - self.before // unit) * unit, unit

    def uptime(self, old):
        new = old + self.now // 1000 - self.before // 1000
        return new if -(2**64) <= new < 2**64 else old

    def advanced(self, key, value):
        """What becomes of a value that no decision speaks of."""
        if type(value) is list:
            return [self.advanced(key, item) for item in value]
        if type(value) is dict:
            return {own: self.advanced(name_of(own), item) for own, item in value.items()}
        runs = self.kind(key, value)
        if runs == "clock":
            return written(*self.clock(value))
        return self.uptime(value) if runs == "uptime" else self.sequence if runs == "counter" else value


class Node:
    """Class, weight, liveliness and page bits of a node, and its children in order."""

    def __init__(self, key, value, running, page_bits=0):
        self.kind, self.page_bits, self.children = self.classify(key, value, running), page_bits, []
        self.weight = {5: 4, 9: 30, 10: 1, 11: 3, 12: 4}.get(self.kind, 20 if self.kind < 5 else 2)
        self.lively = self.kind < 5
        if type(value) is list:
            self.children = [Node(key, item, running) for item in value]
        elif type(value) is dict:
            pages = self.pages(value)
            for own, item in value.items():
                name = name_of(own)
                node = Node(name, item, running)
                zeros = pages.get(name.split("_")[0], 0) if node.kind == 3 else 0
                node.page_bits = next((bits for bits in (12, 10, 9) if bits <= zeros), 0)
                self.children.append(node)
        for child in self.children:
            self.weight, self.lively = min(self.weight + child.weight, 2**32 - 1), self.lively or child.lively

    @staticmethod
    def classify(key, value, running):
        number, runs = kind(value), running.kind(key, value)
        if number == INT:
            lively = 5 if not has(key, "lively") else 3 if value >= 65536 else 4
            return 1 if runs == "uptime" else 6 if has(key, "settled") else lively
        if number == TEXT:
            name = 10 if key == "id" or has(key, "name") else 11
            return 0 if runs == "clock" else 9 if has(key, "version") else name
        return {NULL: 8, BOOL: 7, FLOAT: 2, BYTES: 14, ARRAY: 12, MAP: 13}[number]

    @staticmethod
    def pages(entries):
        pages = {}
        for key, value in entries.items():
            if type(value) is int and value > 65536:
                word, zeros = name_of(key).split("_")[0], (value & -value).bit_length() - 1
                pages[word] = min(pages.get(word, zeros), zeros)
        return pages


class Words:
    """The texts under one key, by falling frequency."""

    def __init__(self, texts):
        counts = {}
        for text in texts:
            counts[text] = counts.get(text, 0) + 1
        self.ranked, self.total = sorted(map(list, counts.items()), key=lambda word: -word[1]), len(texts)

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
            return self.ranked.append([text, 1])
        first = next(at for at, word in enumerate(self.ranked) if word[1] == self.ranked[rank][1])
        self.ranked[first], self.ranked[rank] = self.ranked[rank], self.ranked[first]
        self.ranked[first][1] += 1


LINE = Node("", "", Running((0, 0, 0, 0), False))


# ---- section 8: the walk -----------------------------------------------------------------------------

class Walk:
    """Applies a delta while it reads it: each function returns what the value becomes."""

    def __init__(self, base, context, coder):
        self.base, self.context, self.coder = base, context, coder
        self.bit, self.tree, self.count, self.signed = coder.bit, coder.tree, coder.count, coder.signed
        self.words, self.text, self.content, self.depth = {}, None, 0, 0

    def spend(self, size):
        self.content += size
        refuse_unless(self.content <= 262_144, "TooMuch")
        return self.content

    def deeper(self, walk, *arguments):
        refuse_unless(self.depth < 64, "TooDeep")
        self.depth += 1
        made = walk(*arguments)
        self.depth -= 1
        return made

    def delta(self):
        base = self.base
        self.running = Running(self.context, self.bit("RUNNING"))
        site = Site("", Node("", base, self.running), False)
        if not self.bit("ROOT", kind(base)):
            made = self.fresh("", base, None)
        elif type(base) is dict:
            made = self.deeper(self.map, site, base, True)
        elif self.bit("ROOT_KEPT"):
            made = self.running.advanced("", base)
        else:
            made = self.in_place(site, base)
        self.coder.finish()
        return made

    def change(self, site, old):
        self.coder.check()
        same = self.bit("SAME_KIND", site.node.kind)
        return self.in_place(site, old) if same else self.fresh(site.key, old, None)

    def in_place(self, site, old):
        number = kind(old)
        if number < INT:
            return None if number == NULL else not old
        if number == ARRAY:
            return self.deeper(self.list, site, old, site.node.children, int(bool(old) and type(old[0]) is dict))
        if number == MAP:
            return self.deeper(self.map, site, old, False)
        return {INT: lambda: self.integer(site.node, old), FLOAT: lambda: self.float(old), BYTES: lambda: self.splice(
            site.key, old), TEXT: lambda: self.changed_text(site, old)}[number]()

    # maps and lists

    def map(self, site, base, is_root):
        entries, removed, keys = list(base.items()), [], []
        if self.bit("MAP_SHAPE", 2 * is_root + site.in_array):
            which = self.tree("MAP_WHICH", 0, 2)
            removed = self.removed(0, len(entries), False) if which != 0 else []
            if which != 1:
                count = self.count("INSERTED_COUNT") + 1
                self.spend(count)
                guide = name_of(entries[removed[0]][0]) if removed else ""
                for _ in range(count):
                    keys.append(self.key(guide))
                    refuse_unless(len(keys) < 2 or cbor.encode(keys[-2]) < cbor.encode(keys[-1]), "KeyOrder")
        staying = [at for at in range(len(entries)) if at not in removed]
        changing, quiet = set(), []
        for at in staying:
            (key, value), node = entries[at], site.node.children[at]
            if not node.lively and not (site.in_array and len(entries) <= 8):
                quiet.append(at)
            elif self.bit("LIVELY", node.kind) if node.lively else self.bit(
                    "RECORD", 16 + self.shape(name_of(key), value) if type(value) is str else node.kind):
                changing.add(at)
        if quiet:
            least = int(not (removed or keys or changing or is_root))
            k = 1 if least else 0 if is_root and len(quiet) == len(staying) else 2
            count = self.count("QUIET_COUNT", 50 * k) + least
            refuse_unless(count <= len(quiet), "Position")
            picked = self.coder.pick(count, [site.node.children[at].weight for at in quiet])
            changing.update(quiet[at] for at in picked)
        made = []
        for at in staying:
            (key, value), name = entries[at], name_of(entries[at][0])
            changed = Site(name, site.node.children[at], site.in_array)
            made.append((key, self.change(changed, value) if at in changing else self.running.advanced(name, value)))
        made += self.new_entries(entries, removed, keys)
        refuse_unless(len({cbor.encode(key) for key, _ in made}) == len(made), "KeyTwice")
        return dict(sorted(made, key=lambda entry: cbor.encode(entry[0])))

    def new_entries(self, entries, removed, keys):
        left, made = list(removed), []
        for at, key in enumerate(keys):
            if left and self.bit("RENAMED"):
                value = self.running.advanced(name_of(key), entries[left.pop(self.coder.uniform(len(left)))][1])
            else:
                behind = [value for own, value in entries if cbor.encode(own) >= cbor.encode(key)]
                behind = [entries[removed[at]][1]] if at < len(removed) else behind or [v for _, v in entries[-1:]]
                value = self.fresh(name_of(key), (behind or [NOTHING])[0], None)
            made.append((key, value))
        return made

    def removed(self, plus, n, asks_last, h=0):
        count = self.count("REMOVED_COUNT", plus) + 1
        refuse_unless(count <= n, "Position")
        if asks_last and self.bit("REMOVED_LAST", h):
            return list(range(n - count, n))
        return self.coder.pick(count, [1] * n)

    def key(self, guide):
        if self.bit("KEY_NUMBER"):
            return in_range(self.signed("KEY_INT"))
        return utf8(self.literal("\x01", guide.encode()))

    def list(self, site, base, nodes, h):
        removed, places = [], []
        if self.bit("LIST_SHAPE", h):
            which = self.tree("LIST_WHICH", 4 * h, 2)
            removed = self.removed(50, len(base), True, h) if which != 0 else []
            if which != 1:
                count = self.count("INSERTED_COUNT", 50) + 1
                self.spend(count)
                kept, where = len(base) - len(removed), self.tree("INSERTED_WHERE", 4 * h, 2)
                places = [range(count), range(kept, kept + count)][where] if where < 2 else self.coder.pick(
                    count, [1] * (kept + count))
        gone, made, new = set(removed), {}, set(places)
        staying = [at for at in range(len(base)) if at not in gone]
        site_of = [Site(site.key, node, True) for node in nodes]
        if staying:
            least = int(not removed and not places)
            count = self.count("ITEM_COUNT", 50 * (2 * h + least)) + least
            refuse_unless(count <= len(staying), "Position")
            for at in self.coder.pick(count, [nodes[at].weight for at in staying]):
                made[staying[at]] = self.change(site_of[staying[at]], base[staying[at]])

        def keep(at):
            return made[at] if at in made else base[at] if h == 2 else self.running.advanced(site.key, base[at])
        left, target, beside, kept = list(removed), [], NOTHING, 0
        while kept < len(staying) or len(target) in new:
            if len(target) not in new:
                target.append(keep(staying[kept]))
                beside, kept = base[staying[kept]], kept + 1
                continue
            self.coder.check()
            following = base[staying[kept]] if kept < len(staying) else NOTHING
            if left and self.bit("MOVED", h):
                at = left.pop(self.coder.uniform(len(left)))
                target.append(self.change(site_of[at], base[at]) if self.bit("MOVED_CHANGED") else keep(at))
                beside = base[at]
            else:
                beside = self.fresh(site.key, following if beside is NOTHING else beside, following)
                target.append(beside)
        return target

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
            bits = old.bits + self.signed("FLOAT_BITS")
            refuse_unless(0 <= bits < 2**64, "Number")
            return Float(bits)
        d = self.tree("DIGITS", 8 * (7 if known is None else known[1]), 3)
        refuse_unless(d <= 6, "Number")
        k, d0 = known or (0, d)
        expected = k * 10 ** (d - d0) if d >= d0 else abs(k) // 10 ** (d0 - d) * (1 if k >= 0 else -1)
        k = in_range(expected + self.signed("DECIMAL_BY", 288 * d), 63)
        return Float((bits_of(float(k) / 10.0**d) + self.tree("ULPS", 8 * d, 3) - 3) % 2**64)

    # texts

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

    def changed_text(self, site, old):
        if site.node.kind == 0:
            still = self.bit("CLOCK_KIND")
            return self.moment("CLOCK", *self.running.clock(old)) if still else self.text_from(site.key, old)
        text = self.text_from(site.key, old)
        self.under(site.key).add(text)
        return text

    def moment(self, name, expected, unit):
        return written(expected + self.signed(name) * unit, unit)

    def text_from(self, key, old):
        shape = self.shape(key, old)
        how = self.tree("TEXT_HOW", 4 * shape, 2)
        if how == 0:
            return self.word(key, shape, self.under(key).rank(old))
        return self.bump(old) if how == 1 else utf8(self.splice(key, old.encode())) if how == 2 else self.lines(old)

    def word(self, key, shape, skipped):
        words = [text for at, (text, _) in enumerate(self.under(key).ranked) if at != skipped]
        refuse_unless(words, "Position")
        by_count = shape == 0 or len(words) < 3
        rank = self.count("WORD_RANK", 50 * min(shape, 2)) if by_count else self.coder.uniform(len(words))
        refuse_unless(rank < len(words), "Position")
        self.spend(len(words[rank].encode()))
        return words[rank]

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
        refuse_unless(run >= 0, "Position")
        down, by = self.bit("BUMP_DOWN"), self.count("BUMP_BY") + 1
        numbers = [int(old[start:end]) for start, end in runs]
        numbers[run] += -by if down else by
        how = self.tree("BUMP_REST", 0, 2) if numbers[run + 1:] else 0
        for behind in range(run + 1, len(numbers)):
            self.coder.check()
            numbers[behind] = self.count("BUMP_VALUE") if how > 1 else numbers[behind] * (how == 0)
        refuse_unless(numbers[run] >= 0, "Number")
        text, copied = "", 0
        for (start, end), number in list(zip(runs, numbers))[run:]:
            text += old[copied:start] + str(number).zfill(end - start if old[start] == "0" else 0)
            copied = end
        text += old[copied:]
        self.spend(len(text.encode()))
        return text

    def lines(self, old):
        long = len(old.encode()) > 240
        separator = "\n" if "\n" in old else " " if long and " " in old else "," if long and "," in old else None
        refuse_unless(separator, "Position")
        lines = old.split(separator)
        return separator.join(self.list(Site("\x03", LINE, False), lines, [LINE] * len(lines), 2))

    def splice(self, key, old):
        head = tail = 0
        if len(old) > 48 and self.bit("TRIMMED"):
            head = self.coder.uniform(len(old) + 1)
            tail = self.coder.uniform(len(old) - head + 1)
        middle, end = old[head:len(old) - tail], old[len(old) - tail:]
        return old[:head] + self.literal(key, middle, lead=old[max(head - 12, 0):head]) + end

    def literal(self, key, guide_a, guide_b=b"", lead=b""):
        self.text = self.text or TextModel(leaves("", self.base), self.coder)
        return self.text.literal(key, (guide_a, guide_b), lead, self.spend)

    # values without a past

    def fresh(self, key, sibling, following):
        self.coder.check()
        s, number = kind(sibling), self.tree("KIND", 8 * kind(sibling), 3)
        if number == NULL:
            return None
        if number == BOOL:
            return bool(self.bit("NEW_BOOL", int(sibling) if s == BOOL else 2))
        if number == INT:
            return in_range(sibling + self.signed("NEW_INT", 288) if s == INT else self.signed("NEW_INT"))
        if number == FLOAT:
            return self.float(sibling if s == FLOAT else Float(0))
        if number == BYTES:
            return self.literal(key, sibling if s == BYTES else b"")
        if number == TEXT:
            return self.new_text(key, sibling if s == TEXT else "", following if type(following) is str else "")
        if number == ARRAY:
            return self.deeper(self.new_array, key, sibling if s == ARRAY else [])
        return self.deeper(self.new_map, sibling if s == MAP else {}, following if type(following) is dict else {})

    def new_text(self, key, sibling, following):
        shape = self.shape(key, sibling)
        how = self.tree("NEW_TEXT_HOW", 4 * shape, 2)
        if how == 0:
            text = self.word(key, shape, None)
        elif how == 2:
            unit = 1 if self.bit("CLOCK_KIND", 1) else 1000
            text = self.moment("MOMENT", self.running.now // unit * unit, unit)
            self.spend(len(text))
        else:
            text = utf8(self.literal(key, sibling.encode(), following.encode()))
        self.under(key).add(text)
        return text

    def new_array(self, key, sibling):
        count, items = self.count("LIST_LENGTH"), []
        self.spend(count)
        for _ in range(count):
            items.append(self.fresh(key, items[-1] if items else sibling[0] if sibling else NOTHING, None))
        return items

    def new_map(self, sibling, following):
        if sibling and self.bit("SAME_KEYS"):
            self.spend(len(sibling))
            entries = {}
            for key, beside in sibling.items():
                self.spend(len(name_of(key).encode()))
                entries[key] = self.fresh(name_of(key), beside, following.get(key))
            return entries
        count, entries = self.count("MAP_LENGTH"), []
        self.spend(count)
        for _ in range(count):
            key = self.key("")
            entries.append((key, self.fresh(name_of(key), sibling.get(key, NOTHING), None)))
        keys = [cbor.encode(key) for key, _ in entries]
        refuse_unless(all(a < b for a, b in zip(keys, keys[1:])), "KeyOrder")
        return dict(entries)


def bits_of(number):
    return struct.unpack(">Q", struct.pack(">d", number))[0]


def decimal(value):
    """k and d of *Float*."""
    number = struct.unpack(">d", value.bits.to_bytes(8, "big"))[0]
    for d in range(7):
        scaled = number * 10.0**d
        if not abs(scaled) <= 2**52 + 1:
            return None
        whole = int(abs(scaled))
        k = (whole + (abs(scaled) - whole >= 0.5)) * (-1 if scaled < 0 else 1)
        if abs(k) > 2**52:
            return None
        apart = (value.bits - bits_of(float(k) / 10.0**d) + 2**63) % 2**64 - 2**63
        if abs(apart) <= 3:
            return k, d
    return None


def decode(base, packed, context):
    """The target of a packed delta on a base, in the context (base sequence, sequence, base time, time)."""
    try:
        packed = cbor.decode(packed)
    except Refused:
        raise Refused("Frame") from None
    refuse_unless(type(packed) is bytes, "NotBytes")
    return Walk(base, context, Coder(packed)).delta()
