"""Streams of links: transports/FORMAT.md. Frames, keys, the handshake to join, long messages: transports/mesh/FORMAT.md."""
import hashlib
import hmac
from collections import namedtuple

import cbor
from cbor import refuse_unless
from keys import agree, blake3, ccm_open, chacha, derive, x_public, x_public_of, x_secret
from layers import verify

Header = namedtuple("Header", "kind low alias hint counter_low")

def big(number, length):
    return number.to_bytes(length, "big")

def radio(what, *parts, length):
    return derive(f"tombolo 2026 radio {what} 1", b"".join(parts), length)

# ---- the stream of a link: transports/FORMAT.md ------------------------------------------------------

def stream_frames(data):
    """The frames of a stream of bytes, (kind, content) each."""
    frames = []
    while data:
        kind, length = data[0], int.from_bytes(data[1:4], "big")
        refuse_unless(kind <= 4, "Kind")
        refuse_unless(length <= {0: 1 << 20, 1: 64}.get(kind, 0) and (kind != 1 or length >= 13), "Length")
        refuse_unless(len(data) >= 4 + length, "Truncated")
        refuse_unless(kind != 1 or data[4] > 0, "Version")
        frames.append((kind, data[4:4 + length]))
        data = data[4 + length:]
    return frames

def in_turn(frames, chooses):
    """Refuses what one end sends out of its turn: hello, chosen if its key is the lower one, then all others."""
    kinds = [kind for kind, _ in frames]
    head = [1, 2] if chooses else [1]
    refuse_unless(kinds[:len(head)] == head[:len(kinds)] and not {1, 2} & set(kinds[len(head):]), "Turn")

def certificate_key(data):
    """The key in a raw public key of Ed25519."""
    prefix = bytes.fromhex("302a300506032b6570032100")
    refuse_unless(data[:12] == prefix and len(data) == 44, "Certificate")
    return data[12:]

def lan_hint(key, salt):
    return salt + blake3(salt, derive("tombolo 2026 lan hint 2", key))[:8]

# ---- frames and their keys ---------------------------------------------------------------------------

def alias(key, epoch):
    return radio("audience alias", key, big(epoch, 4), length=2)

def hint(key, epoch, sender):
    return radio("sender hint", key, big(epoch, 4), sender, length=1)

def clear_alias(owner):
    return radio("clear alias", owner, length=2)

def clear_hint(owner, sender):
    return radio("clear hint", owner, sender, length=1)

def clear_check(owner, sender):
    return radio("clear hint", owner, sender, length=4)[1:]

def frame_key(key, epoch, sender, boot, salt):
    return radio("frame key", key, big(epoch, 4), b"\x01\x00", sender, big(boot, 4), salt, length=16)

def header(frame):
    refuse_unless(len(frame) >= 6, "Truncated")
    return Header(frame[0] >> 4, frame[0] & 15, frame[1:3], frame[3:4], int.from_bytes(frame[4:6], "big"))

def open_frame(key, frame, counter):
    refuse_unless(len(frame) >= 14 and header(frame).counter_low == counter & 0xFFFF, "Header")
    return ccm_open(key, big(counter, 4) + bytes(9), frame[6:], frame[:6])

def clear_payload(frame):
    pad = header(frame).low
    refuse_unless(pad <= len(frame) - 9 and (pad == 0 or len(frame) <= 15), "Padding")
    payload, filled = frame[9:len(frame) - pad], frame[len(frame) - pad:]
    refuse_unless(not any(filled), "Padding")
    return payload

def infer(expected, low):
    """The counter with these low 16 bits, from 2^15 below the expected one to 2^15 - 1 above, if that is one."""
    start = expected - (1 << 15)
    counter = start + (low - start & 0xFFFF)
    return counter if 0 <= counter < 1 << 32 else None

class Counters:
    """The counters of one sender, as the number line of the page has them."""

    def __init__(self, announced):
        self.announced, self.highest, self.taken = announced, None, set()

    def in_zone(self, counter):
        return self.announced <= counter < self.announced + (1 << 15)

    def candidates(self, low):
        """What a header with these low bits may stand for, the likelier first."""
        zone = self.announced + (low - self.announced & 0xFFFF)
        expected = self.announced if self.highest is None else max(self.announced, self.highest + 1)
        found = [zone] if self.in_zone(zone) else []
        return found + [counter for counter in [infer(expected, low)] if counter not in (None, *found)]

    def may_take(self, counter):
        recent = self.highest is None or self.highest - counter < 128
        return counter not in self.taken and (self.in_zone(counter) or recent)

    def take(self, counter):
        """After its tag held. A frame of the zone far behind the window brings the window back to it."""
        self.taken.add(counter)
        if self.in_zone(counter) and self.highest is not None and self.highest - counter >= 128:
            self.highest = counter
            self.taken = {n for n in self.taken if self.in_zone(n)}
        self.highest = max(counter, self.highest or 0)

    def receive(self, counter):
        """Whether a frame whose tag holds with this counter alone is taken."""
        taken = counter in self.candidates(counter & 0xFFFF) and self.may_take(counter)
        if taken:
            self.take(counter)
        return taken

def parts(frames, at, count_of):
    """The message behind numbered parts that show one check: `number count` in the byte before it."""
    refuse_unless(all(frame[at:] and (frame[at] & 15) == len(frames) in count_of for frame in frames), "Parts")
    ordered = sorted(frames, key=lambda frame: frame[at] >> 4)
    message = b"".join(frame[at + 3:] for frame in ordered)
    refuse_unless(all(frame[at + 1:at + 3] == blake3(message)[:2] for frame in frames), "Check")
    return message

def announcement(frames, sender):
    """(number, salt, counter) of a boot epoch that its sender signed."""
    body = frames[0][4:] if len(frames) == 1 else parts(frames, 4, (2, 3))
    refuse_unless(len(body) == 80 and header(frames[0] + b"\0\0").kind == 0, "Length")
    number, salt, counter = int.from_bytes(body[:4], "big"), body[4:12], int.from_bytes(body[12:16], "big")
    refuse_unless(all(frame[0] & 15 == number & 15 for frame in frames), "low")
    signed = cbor.encode(["tombolo-epoch-1", sender, number, salt, counter])
    refuse_unless(verify(sender, signed, body[16:]), "signature")
    return number, salt, counter

def unseal(sealed, owner, epoch, reader_seed):
    """The audience key in the one slot that is for this reader."""
    refuse_unless(len(sealed) % 24 == 8 and len(sealed) <= 32 + 24 * 1024, "Slots")
    ephemeral, secret = sealed[:32], x_secret(reader_seed)
    slot_key = radio("sealed slot", agree(secret, ephemeral), ephemeral, x_public_of(secret), length=16)
    for at in range(32, len(sealed), 24):
        try:
            return ccm_open(slot_key, bytes(13), sealed[at:at + 24], owner + big(epoch, 4))
        except cbor.Refused:
            continue
    refuse_unless(False, "no slot")

def pair_key(seed, own, other, speaker, listener):
    return radio("pair key", agree(x_secret(seed), x_public(other)), speaker, listener, length=16)

def pair_tag(key, data):
    return radio("pair tag", key, data, length=4)

def pair_channel(seed, own, other):
    both = b"".join(sorted((own, other)))
    return radio("pair channel", agree(x_secret(seed), x_public(other)), both, length=16)

# ---- the handshake to join: Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s ------------------------------------

class Noise:
    def __init__(self, inviter, hashed_token):
        self.h = self.chain = hashlib.blake2s(b"Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s").digest()
        self.psk, self.key, self.count = derive("tombolo 2026 radio join psk 1", hashed_token), None, 0
        self.mix_hash(b"tombolo-join-1" + inviter)
        self.mix_hash(x_public(inviter))

    def mix_hash(self, data):
        self.h = hashlib.blake2s(self.h + data).digest()

    def mix_key(self, material, outputs=2):
        def mac(key, data):
            return hmac.new(key, data, hashlib.blake2s).digest()
        temporary, made = mac(self.chain, material), [b""]
        for n in range(1, outputs + 1):
            made.append(mac(temporary, made[-1] + bytes([n])))
        self.chain, self.key, self.count = made[1], made[-1], 0
        if outputs == 3:
            self.mix_hash(made[2])

    def ephemeral(self, public):
        self.mix_hash(public)
        self.mix_key(public)

    def crypt(self, data, seals):
        result = chacha(self.key, self.count, data, self.h, seals)
        self.mix_hash(result if seals else data)
        self.count += 1
        return result

def read_join(message, inviter_seed, inviter, hashed_token):
    """The inviter reads message 1. Returns the handshake, the joiner's two X25519 keys and its payload."""
    noise, secret, ephemeral = Noise(inviter, hashed_token), x_secret(inviter_seed), message[:32]
    noise.ephemeral(ephemeral)
    noise.mix_key(agree(secret, ephemeral))
    static = noise.crypt(message[32:80], False)
    noise.mix_key(agree(secret, static))
    noise.mix_key(noise.psk, 3)
    return noise, ephemeral, static, noise.crypt(message[80:], False)

def answer_join(noise, ephemeral, static, own_secret, payload):
    """Message 2, by the inviter."""
    own = x_public_of(own_secret)
    noise.ephemeral(own)
    noise.mix_key(agree(own_secret, ephemeral))
    noise.mix_key(agree(own_secret, static))
    return own + noise.crypt(payload, True)

# ---- long messages -----------------------------------------------------------------------------------

def tables():
    """Logarithms of GF(2^16), polynomial 1002d, of elements written in the Cantor basis."""
    basis = (0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
             0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E)
    power, log_of, x = [0] * 65536, [0] * 65536, 1
    for n in range(65535):
        log_of[x], x = n, x << 1 ^ (0x1002D if x & 0x8000 else 0)
    plain = [0]
    for element in basis:
        plain += [element ^ before for before in plain]
    log = [log_of[x] for x in plain]
    for element in range(1, 65536):
        power[log[element]] = element
    return power, log

POWER, LOG = tables()

def words(shard):
    """Blocks of 64 bytes, the last as long as it is; the low bytes of its words first, then the high ones."""
    blocks = [shard[at:at + 64] for at in range(0, len(shard), 64)]
    return [low | high << 8 for b in blocks for low, high in zip(b[:len(b) // 2], b[len(b) // 2:])]

def shard_of(numbers):
    rows = [numbers[at:at + 32] for at in range(0, len(numbers), 32)]
    return b"".join(bytes(n & 255 for n in row) + bytes(n >> 8 for n in row) for row in rows)

def shard_at(count, held, index):
    """The shard `index` of a block of `count`, from any `count` that are held: {index: shard}, parity behind data."""
    size = 1 << (count - 1).bit_length()
    place = {n: n if n < count else size + n - count for n in [*held, index]}
    known = {place[n]: words(held[n]) for n in sorted(held)[:count]}
    points, at, total = [*known, *range(count, size)], place[index], None
    for x, row in known.items():
        log = sum(LOG[at ^ other] - LOG[x ^ other] for other in points if other != x)
        scaled = [POWER[(log + LOG[n]) % 65535] if n and at not in points or n and x == at else 0 for n in row]
        total = scaled if total is None else [a ^ b for a, b in zip(total, scaled)]
    return shard_of(total)

def fragment(payload):
    """(id, count, block, index, shard) of a fragment."""
    refuse_unless(len(payload) >= 4, "Truncated")
    number, word = int.from_bytes(payload[:2], "big"), payload[2]
    long = word >= 64
    count = int.from_bytes(payload[2:4], "big") - 0x8000 + 1 if long else word + 1
    refuse_unless(len(payload) >= 6 or not long, "Truncated")
    block, index, shard = (payload[4], payload[5], payload[6:]) if long else (0, payload[3], payload[4:])
    blocks = -(-count // 64)
    refuse_unless((64 < count <= 4096 if long else True) and block < blocks and len(payload) <= 255, "Header")
    refuse_unless(len(shard) >= 8 and len(shard) % 2 == 0, "Shard")
    refuse_unless(index < count // blocks + (block < count % blocks) + 192, "Index")
    return number, count, block, index, shard

def nack(data, blocks):
    """(whose, id, entries) of a NACK for a message whose blocks have so many data fragments each."""
    refuse_unless(len(data) >= 3, "Truncated")
    entries, rest = [], data[3:]
    while rest:
        block, has_map = rest[0] & 63, rest[0] >> 6
        refuse_unless(has_map < 2 and block < len(blocks), "Block")
        size = (blocks[block] + 7) // 8 if has_map else 1
        refuse_unless(len(rest) > size, "Truncated")
        body, rest = rest[1:1 + size], rest[1 + size:]
        bits = [n for n in range(8 * size) if body[n // 8] >> n % 8 & 1]
        missing = bits if has_map else body[0]
        least, most = (len(bits), max(bits, default=0) + 1) if has_map else (missing, missing)
        refuse_unless(least > 0 and most <= blocks[block], "Count")
        entries.append([block, missing])
    return data[:1], data[1:3], entries

def message_of(payloads):
    """(kind, message) of fragments, of each block any as many as there are of data."""
    held = [fragment(payload) for payload in payloads]
    count, stream = held[0][1], b""
    blocks = -(-count // 64)
    for number in range(blocks):
        size = count // blocks + (number < count % blocks)
        shards = {index: shard for _, _, block, index, shard in held if block == number}
        refuse_unless(len(shards) >= size, "Missing")
        stream += b"".join(shards.get(n) or shard_at(size, shards, n) for n in range(size))
    kind, pad = stream[0] >> 4, stream[1]
    refuse_unless(pad < len(held[0][4]), "Pad")
    body, check = stream[2:len(stream) - pad - 4], stream[len(stream) - pad - 4:len(stream) - pad]
    refuse_unless(kind >= 5 and stream[0] & 15 == 0 and not any(stream[len(stream) - pad:]), "Stream")
    whole = derive("tombolo 2026 radio message 1", bytes([kind]) + body)
    refuse_unless(check == whole[:4], "Print")
    return kind, body

# ---- a frame as each kind of radio takes it ----------------------------------------------------------

def kiss(data):
    return b"\xc0\0" + data.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"

def kiss_frames(data):
    """The frames of command 0, without broken ones and what has no end."""
    whole = [part for part in data.split(b"\xc0")[1:-1] if part[:1] and part[0] & 15 == 0]
    plain = [part[1:].replace(b"\xdb\xdc", b"").replace(b"\xdb\xdd", b"") for part in whole]
    frames = [part[1:].replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
              for part, rest in zip(whole, plain) if b"\xdb" not in rest]
    return [frame for frame in frames if len(frame) <= 2000]

def read_ax25(data):
    """The information field of a UI frame to TOMBOL, repeaters passed over."""
    end = next((n for n in range(6, len(data), 7) if data[n] & 1), None)
    refuse_unless(end is not None and end >= 13 and data[:6] == bytes(c << 1 for c in b"TOMBOL"), "Address")
    refuse_unless(data[end + 1:end + 3] == b"\x03\xf0", "Protocol")
    return data[end + 3:]

def ax25(call, ssid, frame):
    def address(letters, last):
        return bytes(letter << 1 for letter in letters.ljust(6).encode()) + bytes([last])
    return address("TOMBOL", 0xE0) + address(call, 0x61 | ssid << 1) + b"\x03\xf0" + frame

def meshcore(channel, frame):
    body = bytes([0x3E, channel, 0xFF, 0x74, 0xFF]) + frame
    return b"\x3c" + len(body).to_bytes(2, "little") + body

def meshtastic(packet, channel, frame):
    data = b"\x08\x80\x02\x12" + bytes([len(frame)]) + frame  # portnum 256, payload
    body = b"\x15" + b"\xff" * 4 + bytes([0x18, channel, 0x22, len(data)]) + data
    body += b"\x35" + packet.to_bytes(4, "little")  # a hop limit of 0 is left out
    return b"\x94\xc3" + big(len(body) + 2, 2) + b"\x0a" + bytes([len(body)]) + body
