"""What is refused: `refused.json` for its shape, `rules.json` because it does not hold."""
import air
import cbor
import delta
import envelope
import federation
import frames
import layers
from cbor import refuse_unless
from counting import states
from keys import blake3, public_of

OWNER = public_of(bytes([1] * 32))

def refused_json(count, v):
    readers = {
        "heartbeat on air": air.heartbeat,
        "frontier on air": air.frontier,
        "update": air.update,
        "provisional": air.provisional,
        "pair": air.pair,
        "whole on air": lambda data: air.whole(OWNER, data),
        "join request": lambda data: federation.decode_request(data, OWNER, OWNER),
        "join answer": federation.decode_answer,
        "audience": federation.read_audience,
        "invite code": federation.read_code,
        "command": lambda data: federation.decode_command(data, OWNER, OWNER),
        "answer to a command": federation.decode_answer_to_command,
        "notice": federation.decode_notice,
    }
    for vector in v["refused"]:
        given = vector["text"] if "text" in vector else vector.b("hex")
        count.refuse(f"{vector['what']}: {vector['why']}", readers[vector["what"]], given)

def is_hash(found, c, name="hash"):
    """Refuses what is not the one that is given."""
    refuse_unless(found == c.b(name), "differs")

def given(c):
    """The bytes of a case: `hex`, or by rule (tests/vectors/README.md)."""
    return c.b("hex") if "hex" in c else b"".join(bytes.fromhex(piece) * times for piece, times in c["runs"])

def map_content(c):
    """Entries that may be the content of a layer: as bytes, or numbered."""
    sizes = [size for count, size in c.get("counted", []) for _ in range(count)]
    numbered = [[[str(n)], 0, bytes(size)] for n, size in enumerate(sizes)]
    # Numbered ones are far from filling a bucket.
    envelope.within_limits(numbered or cbor.decode(given(c), 17 << 20, 68), not numbered)

def map_delta_over_a_link(c):
    data = given(c)
    put, dropped = envelope.map_delta(cbor.decode(data, 1 << 20, 67), c.get("time_ms", 0))
    refuse_unless(len(data) <= 131_072 and len(put) + len(dropped) <= 4096, "TooManyChanges")

def may_see(c):
    """Rules 2 and 3 of *What a peer may see*."""
    owner, author, reader, suspended = c.b("owner"), c.b("author"), c.b("reader"), c.b("suspended")
    salt, members, _ = federation.read_audience(c.b("list"))
    level = {who: members.get(federation.member_hash(salt, who), ("untrusted", 0))[0] for who in (author, reader)}
    is_writer = author == owner or level[author] == "trusted"
    is_known = c["name"] == "audience" or c["list_sequence"] >= c["audience_sequence"]
    listed = author not in suspended and level[reader] != "untrusted" and is_known
    refuse_unless(reader not in suspended and is_writer and (reader == owner or listed), "not for this reader")

def whole(c):
    read = envelope.decode_whole(c.b("hex"))
    refuse_unless(layers.holds(read.head, read.signature), "signature")

def compact(c):
    """Whether it holds on its base: its root is right, its delta is read, its signature is the author's."""
    base, read = envelope.decode_whole(c.b("base")), envelope.decode_compact(c.b("hex"))
    head, following = base.head, envelope.following(base.head, read)
    refuse_unless(read.root_prefix == head.root[:2], "Base")
    context = (head.sequence, following.sequence, head.time, following.time)
    root = blake3(cbor.encode(delta.decode(base.content[0], read.delta, context)))
    refuse_unless(layers.holds(following._replace(root=root), read.signature), "signature")

def air_whole(c):
    head, signature, content = air.whole(c.b("owner"), c.b("hex"))
    root = blake3(cbor.encode(content))
    refuse_unless(layers.holds(head._replace(root=root), signature), "signature")

def alias_and_hint(c):
    key, epoch = c.b("key"), c["epoch"]
    refuse_unless(frames.alias(key, epoch) == c.b("alias"), "alias")
    refuse_unless(frames.hint(key, epoch, c.b("sender")) == c.b("hint"), "hint")

def counter(c):
    track = frames.Counters(c["announced"])
    for before in c["before"]:
        track.receive(before)
    refuse_unless(track.receive(c["counter"]), "counter")

def pair_tag(c):
    own, speaker = public_of(c.b("seed")), c.b("speaker")
    key = frames.pair_key(c.b("seed"), own, speaker, speaker, own)
    is_hash(frames.pair_tag(key, c.b("bytes")), c, "tag")

def pair_channel(c):
    is_hash(frames.pair_channel(c.b("seed"), public_of(c.b("seed")), c.b("other")), c, "key")

def sealed_key(c):
    sealed = c.b("sealed") if "sealed" in c else given(c)
    return frames.unseal(sealed, c.b("owner"), c["epoch"], c.b("reader_seed"))

def join(c):
    refuse_unless(all(frame[0] == 0x30 for frame in c.b("frames")), "Parts")
    message, seed = frames.parts(c.b("frames"), 5, range(1, 16)), c.b("inviter_seed")
    frames.read_join(message, seed, public_of(seed), c.b("token_hash"))

RULES = {
    "snapshot": lambda c: cbor.decode(given(c)),
    "map": map_content,
    "may see": may_see,
    "audience": lambda c: federation.read_audience(given(c)),
    "message": lambda c: envelope.decode_message(given(c)),
    "map delta over a link": map_delta_over_a_link,
    "whole envelope": whole,
    "compact envelope": compact,
    "map delta": lambda c: envelope.map_delta(cbor.decode(c.b("hex")), c["time_ms"]),
    "layer hash": lambda c: is_hash(envelope.layer_hash(c.b("owner"), c.b("author"), c["name"]), c),
    "member hash": lambda c: is_hash(federation.member_hash(c.b("salt"), c.b("identity")), c),
    "fingerprint": lambda c: is_hash(envelope.fingerprint(states(c["states"])), c, "fingerprint"),
    "token hash": lambda c: is_hash(federation.token_hash(c.b("token")), c),
    "signed join request": lambda c: federation.decode_request(c.b("hex"), c.b("inviter"), c.b("joiner")),
    "signed command": lambda c: federation.decode_command(c.b("hex"), c.b("sender"), c.b("addressee")),
    "signed notice": lambda c: federation.decode_notice(c.b("hex")),
    "confirmation of a notice": lambda c: is_hash(federation.decode_notice(c.b("hex"))[3], c),
    "notice as text": lambda c: federation.decode_notice(federation.notice_of_text(c["text"])),
    "alarm": lambda c: refuse_unless(federation.read_alarms(c.b("hex")), "nothing valid"),
    "alarm id": lambda c: is_hash(federation.alarm_id(c["kind"], c.b("node"), c["episode"], c["app"]), c, "id"),
    "ends of an audience": lambda c: refuse_unless(federation.read_ends(c.b("hex")), "nothing valid"),
    "whole on air": air_whole,
    "certificate": lambda c: frames.certificate_key(c.b("hex")),
    "mDNS hint": lambda c: is_hash(frames.lan_hint(c.b("key"), c.b("hint")[:8]), c, "hint"),
    "alias and hint": alias_and_hint,
    "frame": lambda c: frames.open_frame(c.b("frame_key"), c.b("hex"), c["counter"]),
    "clear frame": lambda c: frames.clear_payload(c.b("hex")),
    "counter": counter,
    "announcement": lambda c: frames.announcement(c.b("frames"), c.b("sender")),
    "sealed key": sealed_key,
    "pair tag": pair_tag,
    "channel of two": pair_channel,
    "join": join,
    "fragment": lambda c: frames.fragment(given(c)),
    "long message": lambda c: frames.message_of(c.b("fragments")),
    "NACK": lambda c: frames.nack(c.b("hex"), [c["count"]]),
    "frames of one end":
        lambda c: frames.in_turn(frames.stream_frames(c.b("hex")), c["from"] == "the lower key"),
    "KISS": lambda c: refuse_unless(frames.kiss_frames(given(c)), "nothing valid"),
    "AX.25": lambda c: frames.read_ax25(c.b("hex")),
}

def rules_json(count, v):
    for case in v["accepted"]:
        count.accept(f"{case['what']}: {case['why']}", True, lambda: RULES[case["what"]](case) is not refuse_unless)
    for case in v["refused"]:
        count.refuse(f"{case['what']}: {case['why']}", RULES[case["what"]], case)
