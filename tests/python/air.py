"""Messages on air: src/envelope/FORMAT.md, *On air*."""
import cbor
import delta
from cbor import refuse_unless
from coder import Coder
from envelope import document_name, items, number, octets, take, take_varint
from layers import SNAPSHOT, Head

DISTANCE, TIME = (49152, 49152, 36045, 16384, 26214), (52429,)
FLAGS = 0xE0

def coded_number(coder, chances):
    length = 0
    while length < 54 and coder.decide(chances[min(length, len(chances) - 1)]):
        length += 1
    refuse_unless(length < 54, "Number")
    return (1 << length | coder.raw(length)) - 1

def coded_signed(coder, nothing):
    if coder.decide(nothing):
        return 0
    sign = -1 if coder.decide(32768) else 1
    return sign * (coded_number(coder, TIME) + 1)

def coded_time(coder, distance):
    unit = 1 if coder.decide(2048) else 1000
    return min(distance, 1 << 20) * 60_000 + coded_signed(coder, 45875) * unit

def envelope(signature, change):
    """The fields of one envelope of an update. `changes`: a map's in plain; `coder` stands before a delta."""
    flags, plain = signature[63] & FLAGS, None
    signature = signature[:63] + bytes([signature[63] & 31])
    if flags & 0x40:
        (length,), rest = take(change, 1)
        change, plain = take(rest, length)
    coder = Coder(change)
    distance = coded_number(coder, DISTANCE) + 1
    step = coded_time(coder, distance)
    audience = coded_signed(coder, 32768) if coder.decide(1024) else 0
    is_long = coder.decide(6554)
    prefix = bytes([(flags & 0x20) << 2 | coder.raw(7)]) + (bytes([coder.raw(8)]) if is_long else b"")
    refuse_unless(plain is None or coder.at >= len(change), "Trailing")
    return {"distance": distance, "time_step_ms": step, "audience_step": audience, "print": prefix,
            "signature": signature, "changes": plain, "coder": coder}

def update(data):
    envelopes = []
    while True:
        signature, data = take(data, 64)
        if not signature[63] & 0x80:
            return envelopes + [envelope(signature, data)]
        (length,), data = take(data, 1)
        change, data = take(data, length)
        envelopes.append(envelope(signature, change))

def target(found, base, context):
    """What an envelope of an update or a provisional one makes of its base: its delta is in the same coder."""
    return delta.Walk(base, context, found["coder"]).delta()

def changes(found):
    """The map delta of an envelope of an update: plain, or a packed delta from null in a context of zeros."""
    plain = found["changes"]
    return cbor.decode(plain) if plain is not None else target(found, None, (0, 0, 0, 0))

def unpacked(packed, context):
    return delta.decode(None, packed, context) if packed[:1] and packed[0] >> 5 == 2 else cbor.decode(packed)

def whole(owner, data):
    """The head but for its root, the signature, the content: a value, or a map's entries as in a map delta."""
    kind, name, author, sequence, time, audience, signature, packed = items(cbor.decode(data, 65_536, 2), 8)
    refuse_unless(number(kind) <= 1 and type(packed) is bytes, "Shape")
    author = owner if author is None else octets(author, 32)
    name, sequence, time, audience = document_name(name), number(sequence), number(time, 64), number(audience)
    head = Head(kind, owner, name, author, sequence, time, audience, None)
    context = (0, sequence, 0, time) if kind == SNAPSHOT else (0, 0, 0, 0)
    return head, octets(signature, 64), unpacked(packed, context)

def heartbeat(data):
    refuse_unless(len(data) >= 5 and len(data) % 4 == 1 and len(data) <= 69, "Length")
    rest = [data[at:at + 4] for at in range(5, len(data), 4)]
    return (8 + (data[0] & 7)) << (data[0] >> 3), data[1:5], [(other[:2], other[2:]) for other in rest]

def frontier(data):
    """(complete, entries): short (12 bits of hash, 12 of sequence, 8 of root), long (hash, sequence, prefix)."""
    (form,), rest = take(data, 1)
    refuse_unless(form < 4, "Form")
    entries = []
    while rest:
        refuse_unless(len(entries) < 256, "TooMany")
        if form & 1:
            names, rest = take(rest, 12)
            sequence, rest = take_varint(rest)
            entries.append((names[:8], number(sequence), names[8:]))
        else:
            word, rest = take(rest, 4)
            word = int.from_bytes(word, "big")
            entries.append((word >> 20, word >> 8 & 0xFFF, word & 0xFF))
    return bool(form & 2), entries

def provisional(data):
    (first,), _ = take(data, 1)
    count = first >> 4
    refuse_unless(count and len(data) > 4 * count, "Length")
    body, tags = data[:-4 * count], data[-4 * count:]
    coder = Coder(body[1:])
    distance = first & 15 or coded_number(coder, DISTANCE) + 16
    step = coded_time(coder, distance)
    tags = [tags[at:at + 4] for at in range(0, len(tags), 4)]
    return {"distance": distance, "time_step_ms": step, "coder": coder, "tags": tags}

def pair(data):
    """(kind, what) of a message in a channel of two: which keys the sender holds, or bytes that other pages draw."""
    refuse_unless(len(data) > 0 and data[0] < 7, "Kind")
    if data[0]:
        return data[0], data[1:]
    rest, keys = data[1:], []
    for _ in range(2):
        sequence, rest = take_varint(rest)
        prefix, rest = take(rest, 4)
        keys.append((number(sequence), prefix))
    audience, rest = take_varint(rest)
    refuse_unless(not rest, "Trailing")
    return 0, (*keys, number(audience))
