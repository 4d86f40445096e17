"""Layers, envelopes and messages between engines: src/envelope/FORMAT.md."""
from collections import namedtuple

import cbor
from cbor import refuse_unless
from keys import agree, blake3, chacha, derive, public_of, x_public, x_secret
from layers import MAP, SNAPSHOT, Head

Whole = namedtuple("Whole", "head signature content")
Compact = namedtuple("Compact", "distance address root_prefix time_step_ms audience_step signature delta")

# ---- small things ------------------------------------------------------------------------------------

def number(value, bits=53):
    refuse_unless(type(value) is int and 0 <= value < 1 << bits, "Number")
    return value

def octets(value, length):
    refuse_unless(type(value) is bytes and len(value) == length, "Shape")
    return value

def items(value, *counts):
    refuse_unless(type(value) is list and (not counts or len(value) in counts), "Shape")
    return value

def zigzag(value):
    return value >> 1 ^ -(value & 1)

def take_varint(data):
    """LEB128 in its shortest form, below 2^64. Returns the number and what follows."""
    value = 0
    for n, byte in enumerate(data[:10]):
        value |= (byte & 127) << 7 * n
        if byte < 128:
            refuse_unless((byte or n == 0) and value < 1 << 64, "Number")
            return value, data[n + 1:]
    refuse_unless(len(data) >= 10, "Truncated")
    refuse_unless(False, "Number")

def take(data, length):
    refuse_unless(len(data) >= length, "Truncated")
    return data[:length], data[length:]

# ---- layers ------------------------------------------------------------------------------------------

def layer_hash(owner, author, name):
    return derive("tombolo 1 layer print", owner + author + name.encode(), 8)

def document_name(name):
    refuse_unless(type(name) is str and 1 <= len(name.encode()) <= 64, "Shape")
    control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name)
    refuse_unless(not control and "/" not in name and "\\" not in name, "Shape")
    return name

def key_path(key):
    items(key)
    refuse_unless(1 <= len(key) <= 64 and all(type(s) is str and len(s.encode()) <= 1024 for s in key), "Key")
    return key

def entry(value):
    """One entry of a map: (key, stamp, value or None with `dead`, saw). Returns its key."""
    entry_size(value)
    return value[0]

def entry_size(value):
    items(value, 2, 3, 4)
    _, stamp, rest = key_path(value[0]), value[1], value[2:]
    refuse_unless(type(stamp) is int and -1 << 64 <= stamp < 1 << 64, "Entry")
    refuse_unless(len(rest) in ((1, 2) if stamp >= 0 else (0, 1)), "Entry")
    saw = rest[1:] if stamp >= 0 else rest
    refuse_unless(all(type(s) is bytes and len(s) == 4 for s in saw), "Entry")
    refuse_unless(stamp < 0 or not (type(rest[0]) is dict and rest[0]), "ObjectNotSpread")
    refuse_unless(stamp < 0 or depth_of(rest[0]) <= 64, "TooDeep")
    size = len(cbor.encode(value))
    refuse_unless(size <= 64 << 10, "TooLarge")
    return size

def depth_of(value):
    inner = value if type(value) is list else value.values() if type(value) is dict else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)

def within_limits(entries, with_buckets=True):
    """Checks the entries of one layer, and their limits together."""
    refuse_unless(len(items(entries)) <= 262_144, "TooManyEntries")
    buckets, keys, total = {}, set(), 0
    for item in entries:
        size, key = entry_size(item), item[0]
        keys.add(tuple(key))
        total += size
        held = buckets.setdefault(bucket_of(key) if with_buckets else total, [0, 0])
        held[:] = held[0] + 1, held[1] + size
    refuse_unless(len(keys) == len(entries), "DuplicateKey")
    full = (len(cbor.head(4, count)) + size > 512 << 10 for count, size in buckets.values())
    refuse_unless(not any(full), "BucketFull")
    refuse_unless(total <= 16 << 20, "TooLarge")

def bucket_of(key):
    return int.from_bytes(blake3(cbor.encode(key))[:2], "big") >> 4

def in_order(entries):
    """By bucket, then by key: segment by segment, each bytewise; a key that begins another stands before it."""
    return sorted(entries, key=lambda e: (bucket_of(e[0]), [s.encode() for s in e[0]]))

def map_root(entries):
    buckets = {}
    for item in in_order(entries):
        buckets.setdefault(bucket_of(item[0]), []).append(item)
    level = {n: (len(b), derive("tombolo 1 map bucket", cbor.encode(b))) for n, b in buckets.items()}
    for depth in (2, 1, 0):
        above = {}
        for n, (count, digest) in sorted(level.items()):
            above.setdefault(n // 16, []).append((n % 16, count, digest))
        level = {n: node(depth, children) for n, children in above.items()}
    return level[0][1] if level else node(0, [])[1]

def unpack(data):
    """The entries of a part: keys and stamps say what differs from those before."""
    found, path, stamp = [], b"", 0
    while data:
        head, data = take_varint(data)
        length, data = take_varint(data)
        refuse_unless(head >> 2 <= len(path), "Shared")
        rest, data = take(data, length)
        path = path[:head >> 2] + rest
        difference, data = take_varint(data)
        stamp = (stamp + zigzag(difference)) % (1 << 64)
        item = [[segment.decode() for segment in path.split(b"\xff")], -1 - stamp if head & 1 else stamp]
        if not head & 1:
            reader = cbor.Reader(data, 64)
            item.append(reader.value())
            refuse_unless(cbor.encode(item[-1]) == data[:reader.at], "OneForm")
            data = data[reader.at:]
        if head & 2:
            saw, data = take(data, 4)
            item.append(saw)
        entry(item)
        found.append(item)
    return found

def node(level, children):
    count = sum(child[1] for child in children)
    body = cbor.encode([level, count, [[slot, digest] for slot, _, digest in children]])
    return count, derive("tombolo 1 map node", body)

def check_content(kind, content):
    """The root of a content that is within the limits of the format."""
    if kind == SNAPSHOT:
        cbor.decode(cbor.encode(content))
        return blake3(cbor.encode(content))
    within_limits(content)
    return map_root(content)

# ---- envelopes ---------------------------------------------------------------------------------------

def decode_whole(data):
    fields = items(cbor.decode(data, 1 << 20, 68), 9)
    kind, owner, name, author, sequence, time, audience, signature, last = fields
    refuse_unless(kind in (SNAPSHOT, MAP) and type(kind) is int, "Shape")
    octets(owner, 32)
    author = owner if author is None else octets(author, 32)
    content = items(last, 1) if type(last) is list else None
    root = check_content(kind, content[0]) if content else octets(last, 32)
    name, sequence, time, audience = document_name(name), number(sequence), number(time, 64), number(audience)
    head = Head(kind, owner, name, author, sequence, time, audience, root)
    return Whole(head, octets(signature, 64), content)

def decode_compact(data):
    (first,), rest = take(data, 1)
    refuse_unless(first & 0x80, "Shape")
    distance = first & 15
    if not distance:
        distance, rest = take_varint(rest)
        refuse_unless(distance > 15, "Number")
    address, rest = take(rest, 1) if first & 0x10 else (None, rest)
    prefix, rest = take(rest, 2)
    step, rest = take_varint(rest)
    step = zigzag(step) * (1 if first & 0x40 else 1000)
    refuse_unless(-1 << 63 <= step < 1 << 63, "Number")
    audience, rest = take_varint(rest) if first & 0x20 else (0, rest)
    signature, delta = take(rest, 64)
    return Compact(distance, address and address[0], prefix, step, zigzag(audience), signature, delta)

def following(base, compact):
    """The head that a compact envelope makes of its base's, but for the root."""
    return base._replace(sequence=base.sequence + compact.distance, time=base.time + compact.time_step_ms,
                         audience_sequence=base.audience_sequence + compact.audience_step)

def map_delta(value, time):
    """Entries with their stamps made absolute, and dropped keys."""
    entries, dropped = (items(value, 1, 2) + [[]])[:2]
    base, result = time << 16, []
    for item in items(entries):
        entry(item)
        dead = item[1] < 0
        stamp = base + zigzag(-1 - item[1] if dead else item[1]) & (1 << 64) - 1
        result.append([item[0], -1 - stamp if dead else stamp, *item[2:]])
    return result, [key_path(key) for key in items(dropped)]

# ---- frontiers ---------------------------------------------------------------------------------------

def bucket_sums(states):
    sums = [0] * 16
    for layer, sequence, prefix in states:
        mix = blake3(layer + sequence.to_bytes(8, "big") + prefix)[:8]
        sums[layer[0] >> 4] += int.from_bytes(mix, "big")
    return [total % (1 << 64) for total in sums]

def fingerprint(states):
    sums = b"".join(total.to_bytes(8, "big") for total in bucket_sums(states))
    return derive("tombolo 1 frontier fingerprint", sums, 8)

# ---- messages ----------------------------------------------------------------------------------------

def state(fields):
    return octets(fields[0], 8), number(fields[1]), octets(fields[2], 4)

def transfer(fields, read):
    layer, root, listed = items(fields, 3)
    refuse_unless(len(items(listed)) <= 256, "Shape")
    return octets(layer, 8), octets(root, 32), [read(item) for item in listed]

def place(value):
    level, index = number(value[0]), number(value[1])
    refuse_unless(level <= 3 and index < 16 ** level, "Shape")
    return level, index

def child(value):
    slot, digest, count = items(value, 3)
    refuse_unless(number(slot) < 16 and number(count, 32) > 0, "Shape")
    return slot, octets(digest, 32), count

def tree_node(value):
    level, index, children, *same = items(value, 3, 4)
    refuse_unless(len(items(children)) <= 16, "Shape")
    return (*place([level, index]), [child(c) for c in children], [number(bits, 16) for bits in same])

def node_ask(value, lengths):
    level, index, *held = items(value, 2, 3)
    refuse_unless(all(type(hashes) is bytes and len(hashes) in lengths for hashes in held), "Shape")
    return (*place([level, index]), *held)

def part(value):
    level, index, packed, *same = items(value, 3, 4)
    return (*place([level, index]), octets(packed, len(packed)), *(octets(bits, len(bits)) for bits in same))

def heartbeat(fields):
    refuse_unless(len(fields) >= 3, "Shape")
    clock = fields[2] and [number(n, bits) for n, bits in zip(items(fields[2], 3), (64, 64, 32))]
    refuse_unless(clock or fields[2] is None, "Shape")
    return number(fields[0], 64), number(fields[1], 32), clock

def frontier(fields):
    mask, states = items(fields, 2)
    named = octets(mask, 32) if type(mask) is bytes else number(mask, 16)
    return named, [state(items(s, 3)) for s in items(states)]

READERS = {
    1: heartbeat,
    2: lambda f: [number(n, 32) for n in items(f, 16, 256)],
    3: frontier,
    4: lambda f: [state(s) if len(items(s, 1, 3)) == 3 else (octets(s[0], 8), None, None) for s in f],
    6: lambda f: [(octets(r[0], 8), number(r[1]), number(r[2], 8)) for r in f if items(r, 3)],
    7: lambda f: transfer(f, lambda v: node_ask(v, [64])),
    8: lambda f: transfer(f, tree_node),
    9: lambda f: transfer(f, lambda v: node_ask(v, range(4, 4097, 4) if v[:1] == [3] else [])),
    10: lambda f: transfer(f, part),
    15: lambda f: number(items(f, 1)[0], 64),
}

def count_of(value):
    """The items in all."""
    return 1 + sum(map(count_of, value if type(value) is list else ()))

def decode_message(data):
    """(kind, fields) of a message on a link; kinds 0x0b to 0x0e are read by `federation`."""
    refuse_unless(0 < len(data) <= 1 << 20, "Length")
    kind, body = data[0], data[1:]
    if kind & 0x80:
        return 0x80, decode_compact(data)
    if kind == 5:
        return 5, decode_whole(body)
    refuse_unless(kind in READERS, "UnknownKind")
    fields = items(cbor.decode(body, 1 << 20, 8))
    refuse_unless(count_of(fields) <= 65_536, "Shape")
    refuse_unless(kind in (1, 2) or len(fields) <= 4096, "Shape")
    return kind, READERS[kind](fields)

# ---- a file that is carried by hand ------------------------------------------------------------------

def open_bundle(data, seed):
    """(sender, messages) of the part that is sealed to this reader."""
    begin, reader, secret = b"tombolo-bundle-1\n", public_of(seed), x_secret(seed)
    refuse_unless(data.startswith(begin), "NoBundle")
    rest = data[len(begin):]
    while rest:
        ephemeral, rest = take(rest, 32)
        sealed_sender, rest = take(rest, 48)
        length, rest = take(rest, 4)
        sealed, rest = take(rest, int.from_bytes(length, "big"))
        shared = agree(secret, x_public(ephemeral))
        try:
            key = derive("tombolo 2026 bundle sender 1", shared + ephemeral + reader)
            sender = chacha(key, 0, sealed_sender, None, False)
        except cbor.Refused:
            continue
        parts = shared + agree(secret, x_public(sender)) + ephemeral + sender + reader
        plain, messages = chacha(derive("tombolo 2026 bundle messages 1", parts), 0, sealed, None, False), []
        while plain:
            length, plain = take(plain, 4)
            message, plain = take(plain, int.from_bytes(length, "big"))
            messages.append(message)
        return sender, messages
    refuse_unless(False, "NotForUs")
