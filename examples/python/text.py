"""Literals: delta/FORMAT.md, section 7."""
from coder import SLOT, TABLES, squash, stretch, taught

LEXICON = bytes.fromhex("".join(TABLES["lexicon"]))


class Guide:
    def __init__(self, text):
        self.text, self.place = text, 0 if text else 1
        self.matched = self.missed = self.resume = 0

    def next(self):
        if self.place >= len(self.text):
            return 0 if self.place == len(self.text) else None
        return self.text[self.place]

    def state(self):
        return min(self.matched, 7) if self.missed == 0 else 8 + min(self.matched, 3)

    def follow(self, byte, history, window):
        """Returns how many pairs were looked at."""
        if self.next() == byte:
            self.matched += 1
        else:
            self.resume = self.place if self.matched else self.resume
            self.matched, self.missed = 0, self.missed + 1
        self.place += 1
        if self.matched > 0 or len(history) < 2:
            return 0
        pairs = max(min(len(self.text) - 1 - self.resume, window), 0)
        for at in range(self.resume, self.resume + pairs):
            if self.text[at:at + 2] == history[-2:]:
                self.place, self.matched = at + 2, 1
                return at - self.resume + 1
        return pairs


def byte_kind(byte):
    return 0 if byte >= 128 or chr(byte).isalpha() else 1 if 48 <= byte <= 57 else 2 if byte < 3 else 3


def ratio(counts):
    shift = 0 if max(counts) < 32 else (max(counts) // 32).bit_length()
    counts = [max(count >> shift, int(count > 0)) for count in counts]
    steps = [sum(count > most for most in (0, 1, 2, 4, 7, 12, 19)) for count in counts]
    return 8 * steps[0] + steps[1]


class Chains:
    """Places by what stands before them, the latest first."""

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


class TextModel:
    def __init__(self, leaves, coder):
        self.coder, self.history = coder, bytearray(LEXICON)
        for key, value in leaves:
            if len(self.history) >= 65_536:
                break
            self.history += key.encode()[:64]
            content = value.encode() if type(value) is str else value
            if type(content) is bytes:
                self.history.append(2)
                self.history += content[:max(65_536 - len(self.history), 0)]
            self.history.append(0)
        self.allowed, self.spent, self.streams = 36_000 + 160 * (len(self.history) - len(LEXICON)), 0, False
        self.triples, self.singles = Chains(), Chains()
        self.weights = [[w * 256 for w in TABLES["weights"][at:at + 11]] for at in range(0, len(TABLES["weights"]), 11)]
        self.stream_weights, self.cells = [[24_000] * 6 for _ in range(4)], {}

    def literal(self, key, guides, lead, content):
        """The bytes; `content()` is the new content so far."""
        if len(self.history) < 131_072:
            self.history += key.encode()[:64] + b"\x02" + lead
        guides, made = [Guide(guide) for guide in guides], bytearray()
        while True:
            self.coder.check()
            byte = self.byte(guides, content(0))
            if byte == 0:
                return bytes(made)
            made.append((self.byte(guides, content(0)) - 2) % 256 if byte == 1 else byte)
            content(1)

    def byte(self, guides, content):
        left = self.allowed + 190 * content + 50 * (self.coder.at - 7) - self.spent
        self.streams = self.streams or left <= 0
        for at in range(len(self.triples.back), len(self.history)):
            self.triples.enter(self.hash(at), at)
            self.singles.enter(self.history[at - 1] if at else None, at)
        byte = self.streamed(guides[0]) if self.streams else self.searched(guides, left)
        self.history.append(byte)
        for guide in guides:
            self.spent += guide.follow(byte, self.history, 24 if self.streams else 256) // 8
        return byte

    def hash(self, at):
        return None if at < 3 else (int.from_bytes(self.history[at - 3:at], "big") * 0x9E3779B1 % 2**32) >> 20

    def match(self, at):
        length = 0
        while length < min(20, at) and self.history[at - 1 - length] == self.history[-1 - length]:
            length += 1
        return length

    def candidates(self, left):
        p = min((left // 1700) ** 2, 450)
        t = min(p // 2, 200)
        found, tried, most = [], 0, max(t // 2, min(p, 14))
        for chain, key, steps, whole in ((self.triples, self.hash(len(self.history)), t, most),
                                         (self.singles, self.history[-1], min(p - t, 250), p * 7 // 10)):
            if chain is self.singles and len(found) >= most:
                break
            for at in chain.places(key, steps):
                if len(found) >= whole:
                    break
                tried, match = tried + 1, self.match(at)
                if (match >= 3) == (chain is self.triples):
                    found.append((match, self.history[at]))
        self.spent += 160 + tried
        return found

    def searched(self, guides, left):
        found = self.candidates(left)
        longest = max(found, key=lambda one: one[0], default=(0, 0))
        alive = [(sum(match > most for most in (1, 2, 3, 5, 8)), byte) for match, byte in found]
        last, node = byte_kind(self.history[-1]), 1
        for bit in range(7, -1, -1):
            def agrees(byte):
                return byte is not None and (byte | 256) >> bit + 1 == node
            slots, counts, best, trust = [None] * 10, [0, 0], 0, 0
            for g in range(5, -1, -1):
                for _, byte in (one for one in alive if one[0] == g):
                    counts[byte >> bit & 1] += 1
                if sum(counts):
                    best, slots[g] = max(best, g + 1), SLOT["TEXT_GROUP"] + 64 * g + ratio(counts)
            if longest[0] > 0 and agrees(longest[1]):
                slots[6] = SLOT["TEXT_LONGEST"] + 2 * min(longest[0], 19) + (longest[1] >> bit & 1)
            for at, name in enumerate(("TEXT_GUIDE_A", "TEXT_GUIDE_B")):
                byte, state = guides[at].next(), guides[at].state()
                if agrees(byte):
                    slots[7 + at] = SLOT[name] + 2 * state + (byte >> bit & 1)
                    trust = trust if at else 1 if state == 0 or state > 7 else 2
            slots[9] = SLOT["TEXT_BYTE"] + 256 * last + node
            decision = self.mix(slots, (3 * best + trust, 21 + 4 * bit + last))
            alive = [one for one in alive if (one[1] >> bit & 1) == decision]
            node = node << 1 | decision
        return node & 255

    def mix(self, slots, sets):
        logits = [0 if slot is None else stretch(self.coder.slot(slot)[0]) for slot in slots] + [64]
        mixed = [mixed_logit(logits, self.weights[at]) for at in sets]
        decision = self.coder.decide(squash(sum(mixed) >> 1))
        for at, logit in zip(sets, mixed):
            teach(self.weights[at], logits, (65535 * decision - squash(logit)) * 6)
        for slot in slots:
            if slot is not None:
                self.coder.learn(slot, decision)
        return decision

    def streamed(self, guide):
        at = next(self.triples.places(self.hash(len(self.history)), 1), None)
        length = 0 if at is None else self.match(at)
        speakers = [(3, self.history[at] if length >= 3 else None, length), (4, guide.next(), guide.state())]
        last, node = bytes(self.history[-4:]), 1
        contexts = (last[3], int.from_bytes(last[2:], "big") + 65_536, int.from_bytes(last, "big"))
        for bit in range(7, -1, -1):
            cells = [(n, ((c * 0x9E3779B1 % 2**32) ^ (node * 0x2545F491 % 2**32)) >> 16) for n, c in enumerate(contexts)]
            logits = [stretch(self.cells.get(cell, (32768, 0))[0]) for cell in cells] + [0, 0, 64]
            speaks = [(n, state, byte >> bit & 1) for n, byte, state in speakers
                      if byte is not None and (byte | 256) >> bit + 1 == node]
            for n, state, predicted in speaks:
                logits[n] = stretch(self.cells.get((n, state), (32768, 0))[0]) * (1 if predicted else -1)
            weights = self.stream_weights[sum(n - 2 for n, _, _ in speaks)]
            chance = squash(mixed_logit(logits, weights))
            decision = self.coder.decide(chance)
            teach(weights, logits, (65535 * decision - chance) * 12)
            lessons = [(cell, decision, 14) for cell in cells] + [((n, s), int(p == decision), 15) for n, s, p in speaks]
            for cell, right, most in lessons:
                chance, seen = self.cells.get(cell, (32768, 0))
                self.cells[cell] = taught(chance, seen, right) & ~15, min(seen + 1, most)
            node = node << 1 | decision
        return node & 255


def mixed_logit(logits, weights):
    return max(-2047, min(2047, sum(x * w for x, w in zip(logits, weights)) >> 16))


def teach(weights, logits, error):
    for at, x in enumerate(logits):
        weights[at] += (x * error) >> 18
