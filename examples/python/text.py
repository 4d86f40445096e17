"""Literals: delta/FORMAT.md, section 7."""
from collections import defaultdict

from coder import SLOT, STRETCH, TABLES, squash, taught
from survey import leaves

LEXICON = bytes.fromhex("".join(TABLES["lexicon"]))
WEIGHTS = [[256 * w for w in TABLES["weights"][at:at + 11]] for at in range(0, 53 * 11, 11)]
BYTE_KINDS = [0 if byte >= 128 or chr(byte).isalpha() else 1 if chr(byte).isdigit() else 2 if byte < 3 else 3
              for byte in range(256)]
STEPS = [sum(count > most for most in (0, 1, 2, 4, 7, 12, 19)) for count in range(32)]

class Guide:
    def __init__(self, text):
        self.text, self.place = text + b"\0" if text else b"", 0
        self.matched = self.missed = self.resume = 0

    def prediction(self):
        """The byte at its place, 0 at the end and none behind it; the state."""
        byte = self.text[self.place] if self.place < len(self.text) else None
        return byte, min(self.matched, 7) if self.missed == 0 else 8 + min(self.matched, 3)

    def follow(self, byte, last_two, pairs_max):
        """Returns how many pairs were looked at."""
        if self.prediction()[0] == byte:
            self.matched += 1
        else:
            self.resume = self.place if self.matched else self.resume
            self.matched, self.missed = 0, self.missed + 1
        self.place += 1
        pairs = max(0, min(len(self.text) - 2 - self.resume, pairs_max)) if self.matched == 0 else 0
        for at in range(self.resume, self.resume + pairs):
            if self.text[at:at + 2] == last_two:
                self.place, self.matched = at + 2, 1
                return at - self.resume + 1
        return pairs

def agrees(byte, bit, node):
    """Whether a predicted byte has the bits that were decided above this one."""
    return byte is not None and (byte | 256) >> bit + 1 == node

def mixed(logits, weights):
    return max(-2047, min(2047, sum(x * w for x, w in zip(logits, weights)) >> 16))

def teach(weights, logits, error):
    weights[:] = [w + (x * error >> 18) for w, x in zip(weights, logits)]

class TextModel:
    def __init__(self, walk):
        self.walk, self.coder, self.history, self.streams = walk, walk.coder, bytearray(LEXICON), False
        for key, value in leaves("", walk.base):
            if len(self.history) >= 65_536:
                break
            self.history += key.encode()[:64]
            if type(value) in (str, bytes):
                content = value.encode() if type(value) is str else value
                self.history += b"\2" + content[:max(65_535 - len(self.history), 0)]
            self.history.append(0)
        self.left = 36_000 + 160 * (len(self.history) - len(LEXICON))
        self.behind, self.entered = defaultdict(list), 1  # places by a hash of three bytes, by 4096 + one
        self.weights, self.stream_weights = [list(w) for w in WEIGHTS], [[24_000] * 6 for _ in range(4)]
        self.cells = defaultdict(lambda: (32768, 0))

    def literal(self, key, guide_a, guide_b=b"", lead=b""):
        if len(self.history) < 131_072:
            self.history += key.encode()[:64] + b"\2" + lead
        guides, made = [Guide(guide_a), Guide(guide_b)], bytearray()
        while byte := self.byte(guides):
            made.append((self.byte(guides) - 2) % 256 if byte == 1 else byte)
            self.walk.spend(1)
        return bytes(made)

    def byte(self, guides):
        left = self.left + 190 * self.walk.content + 50 * (self.coder.at - 7)
        self.streams = self.streams or left <= 0
        for at in range(self.entered, len(self.history)):
            self.behind[4096 + self.history[at - 1]].append(at)
            if at >= 3:
                self.behind[self.hash(at)].append(at)
        self.entered = len(self.history)
        byte = self.streamed(guides[0]) if self.streams else self.searched(guides, left)
        self.history.append(byte)
        for guide in guides:
            self.left -= guide.follow(byte, self.history[-2:], 24 if self.streams else 256) // 8
        return byte

    def hash(self, at):
        return int.from_bytes(self.history[at - 3:at], "big") * 0x9E3779B1 % 2**32 >> 20

    def match(self, at):
        most = min(20, at)
        return next((n for n in range(most) if self.history[at - 1 - n] != self.history[-1 - n]), most)

    def look(self, found, places, most, enough, wanted):
        """Tries the latest places, up to one that is far before the one behind it."""
        for n in range(1, min(most, len(places)) + 1):
            if len(found) >= enough or n > 1 and places[1 - n] - places[-n] > 65_535:
                return
            self.left, match = self.left - 1, self.match(places[-n])
            if match in wanted:
                found.append((match, self.history[places[-n]]))

    def candidates(self, left):
        """Match and predicted byte of each."""
        p = min((left // 1700) ** 2, 450)
        t = min(p // 2, 200)
        found, enough = [], max(t // 2, min(p, 14))
        self.look(found, self.behind[self.hash(len(self.history))], t, enough, range(3, 21))
        if len(found) < enough:
            self.look(found, self.behind[4096 + self.history[-1]], min(p - t, 250), 7 * p // 10, range(3))
        self.left -= 160
        return found

    def searched(self, guides, left):
        found = self.candidates(left)
        longest, longest_byte = max(found, key=lambda one: one[0], default=(0, None))
        alive = [(sum(match > most for most in (1, 2, 3, 5, 8)), byte) for match, byte in found]
        predicted = [guide.prediction() for guide in guides]
        last, node = BYTE_KINDS[self.history[-1]], 1
        for bit in range(7, -1, -1):
            slots, counts, best, trust = {9: SLOT["TEXT_BYTE"] + 256 * last + node}, [0, 0], 0, 0
            for group in range(5, -1, -1):
                for _, byte in (one for one in alive if one[0] == group):
                    counts[byte >> bit & 1] += 1
                if any(counts):
                    best, shift = max(best, group + 1), (max(counts) // 32).bit_length()
                    no, yes = (STEPS[max(count >> shift, min(count, 1))] for count in counts)
                    slots[group] = SLOT["TEXT_GROUP"] + 64 * group + 8 * no + yes
            if longest and agrees(longest_byte, bit, node):
                slots[6] = SLOT["TEXT_LONGEST"] + 2 * min(longest, 19) + (longest_byte >> bit & 1)
            for n, (byte, state) in enumerate(predicted):
                if agrees(byte, bit, node):
                    slots[7 + n] = SLOT[("TEXT_GUIDE_A", "TEXT_GUIDE_B")[n]] + 2 * state + (byte >> bit & 1)
                    trust = trust if n else 2 if 1 <= state <= 7 else 1
            decision = self.mix(slots, (3 * best + trust, 21 + 4 * bit + last))
            alive = [one for one in alive if (one[1] >> bit & 1) == decision]
            node = node << 1 | decision
        return node & 255

    def mix(self, slots, sets):
        logits = [STRETCH[self.coder.slots[slots[n]][0] >> 4] if n in slots else 0 for n in range(10)] + [64]
        both = [mixed(logits, self.weights[n]) for n in sets]
        decision = self.coder.decide(squash(sum(both) >> 1))
        for n, logit in zip(sets, both):
            teach(self.weights[n], logits, (65535 * decision - squash(logit)) * 6)
        for slot in slots.values():
            self.coder.learn(slot, decision)
        return decision

    def streamed(self, guide):
        at = (self.behind[self.hash(len(self.history))] or [0])[-1]
        length = self.match(at)
        speakers = [(3, self.history[at] if length >= 3 else None, length), (4, *guide.prediction())]
        last, node = bytes(self.history[-4:]), 1
        contexts = (last[3], int.from_bytes(last[2:], "big") + 65_536, int.from_bytes(last, "big"))
        for bit in range(7, -1, -1):
            hashes = [(context * 0x9E3779B1 ^ node * 0x2545F491) % 2**32 >> 16 for context in contexts]
            inputs = [(n, (n, place), None) for n, place in enumerate(hashes)]
            speaking = [speaker for speaker in speakers if agrees(speaker[1], bit, node)]
            inputs += [(n, (n, state), byte >> bit & 1) for n, byte, state in speaking]
            logits = [0] * 5 + [64]
            for n, cell, predicted in inputs:
                logits[n] = STRETCH[self.cells[cell][0] >> 4] * (-1 if predicted == 0 else 1)
            weights = self.stream_weights[sum(n - 2 for n, _, _ in inputs[3:])]
            chance = squash(mixed(logits, weights))
            decision = self.coder.decide(chance)
            teach(weights, logits, (65535 * decision - chance) * 12)
            for n, cell, predicted in inputs:
                chance, seen = self.cells[cell]
                right = decision if predicted is None else int(predicted == decision)
                self.cells[cell] = taught(chance, seen, right) & ~15, min(seen + 1, 14 if n < 3 else 15)
            node = node << 1 | decision
        return node & 255
