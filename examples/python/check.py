#!/usr/bin/env python3
"""Reads every vector of a folder with the decoders beside this file: `python3 examples/python/check.py tests/vectors`.

Prints for each file how many were accepted and refused as they should be, and how many need what is not written yet. Exit
code 0: all as written down; 1: a difference; 77: a package is missing.
"""
import json
import pathlib
import sys

try:
    import air
    import cbor
    import delta
    import envelope
    import federation
    import frames
    from curves import public_of, x_public
    from hashes import blake3, derive
except ImportError as missing:
    print(f"SKIPPED: needs the Python package {missing.name} (apt install python3-{missing.name})")
    sys.exit(77)

unhex = bytes.fromhex


class Count:
    def __init__(self):
        self.accepted = self.refused = self.not_yet = 0
        self.wrong = []

    def same(self, about, found, expected):
        if found == expected:
            self.accepted += 1
        else:
            self.wrong.append(f"{about}: {found!r} where {expected!r} is written down")

    def accept(self, about, expected, act, *arguments):
        """`act` has to return what is expected, or nothing may be known of that."""
        try:
            self.same(about, act(*arguments), expected)
        except delta.NotYet:
            self.not_yet += 1
        except (cbor.Refused, ValueError, KeyError, TypeError) as error:
            self.wrong.append(f"{about}: refused, {error!r}")

    def refuse(self, about, act, *arguments, name=None):
        try:
            act(*arguments)
            self.wrong.append(f"{about}: accepted")
        except cbor.Refused as refused:
            if name in (None, refused.args[0]):
                self.refused += 1
            else:
                self.wrong.append(f"{about}: refused as {refused.args[0]}, not as {name}")


def plain(value):
    """CBOR as `messages.json` writes it."""
    if type(value) is bytes:
        return {"hex": value.hex()}
    if type(value) is int and value < 0:
        return {"int": str(value)}
    if type(value) is list:
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if type(value) is dict else value


# ---- one function a file -----------------------------------------------------------------------------

def cbor_json(count, vectors):
    for vector in vectors["accepted"]:
        data = unhex(vector["hex"])
        count.accept(vector["hex"], data, lambda: cbor.encode(cbor.decode(data)))
    for vector in vectors["refused"]:
        count.refuse(vector["hex"], cbor.decode, unhex(vector["hex"]), name=vector["error"])


def deltas_json(count, vectors):
    for vector in vectors["deltas"]:
        base, packed, target = (unhex(vector[name]) for name in ("base", "delta", "target"))
        context = [vector["context"][n] for n in ("base_sequence", "sequence", "base_time_ms", "time_ms")]
        count.accept(vector["about"], target, lambda: cbor.encode(delta.decode(cbor.decode(base), packed, context)))
    for vector in vectors["refused"]:
        base, packed = (unhex(vector[name]) for name in ("base", "delta"))
        context = [vector["context"][n] for n in ("base_sequence", "sequence", "base_time_ms", "time_ms")]
        count.refuse(vector["delta"][:40], lambda: delta.decode(cbor.decode(base), packed, context), name=vector["error"])


def layer(count, vector, owner, audience_sequence):
    """A layer: root, name, signed bytes and signature, and the whole envelope around it."""
    about, content = vector["name"], unhex(vector["content"])
    whole = envelope.decode_whole(unhex(vector["whole_envelope"]))
    head = envelope.Head(whole.head.kind, owner, about, unhex(vector["author"]), vector["sequence"],
                         vector["time_ms"], audience_sequence, unhex(vector["root"]))
    count.same(f"{about}: head", whole.head, head)
    count.same(f"{about}: content", cbor.encode(whole.content[0]), content)
    count.same(f"{about}: hash", envelope.layer_hash(owner, head.author, about).hex(), vector["layer_print"])
    count.same(f"{about}: signed bytes", envelope.signed_bytes(head).hex(), vector["signed_bytes"])
    count.same(f"{about}: signature", (whole.signature.hex(), envelope.holds(head, whole.signature)),
               (vector["signature"], True))
    if head.kind == envelope.MAP:
        count.same(f"{about}: order", envelope.in_order(whole.content[0]), cbor.decode(content))
    return head


def envelope_json(count, v):
    owner, sequence = unhex(v["owner"]), v["audience_sequence"]
    count.same("owner", (public_of(unhex(v["owner_seed"])), federation.did(owner)), (owner, v["owner_did"]))
    count.same("writer", public_of(unhex(v["writer_seed"])), unhex(v["writer"]))
    base, following, _ = (layer(count, v[name], owner, sequence) for name in ("snapshot", "snapshot_next", "map"))
    count.same("root of an empty map", envelope.map_root([]).hex(), v["map_empty_root"])
    compact = envelope.decode_compact(unhex(v["compact"]["lan"]))
    on_base = base._replace(sequence=base.sequence + compact.distance, time=base.time + compact.time_step_ms,
                            root=following.root)
    address = envelope.layer_hash(owner, owner, base.name)[0]
    count.same("compact", (on_base, compact.address, compact.root_prefix, compact.delta),
               (following, address, base.root[:2], unhex(v["compact"]["delta"])))
    count.same("compact: signature", envelope.holds(on_base, compact.signature), True)
    target = unhex(v["snapshot_next"]["content"])
    context = (base.sequence, on_base.sequence, base.time, on_base.time)
    held = cbor.decode(unhex(v["snapshot"]["content"]))
    count.accept("compact: delta", target, lambda: cbor.encode(delta.decode(held, compact.delta, context)))
    written = [cbor.decode(unhex(entry["cbor"])) for entry in v["entries"]]
    for vector, item in zip(v["entries"], written):
        count.accept("entry", (vector["key"], vector["saw_hash"]), lambda: (
            envelope.entry(item), blake3(unhex(vector["cbor"]))[:4].hex()))
        count.same("stamp", max(item[1], -1 - item[1]), int(vector["stamp"]))
    changes = cbor.decode(unhex(v["map_delta"]["cbor"]))
    count.accept("map delta", (written, [["dropped"]]), envelope.map_delta, changes, v["map_delta"]["time_ms"])


def messages_json(count, v):
    for vector in v["accepted"]:
        data = unhex(vector["hex"])
        if "fields" in vector:
            fields = dict(vector["fields"])
            for name in ("root_prefix", "signature", "delta"):
                fields[name] = unhex(fields[name])
            count.accept(vector["about"], fields, lambda: envelope.decode_message(data)[1]._asdict())
        else:
            count.accept(vector["about"], vector["array"], lambda: (
                envelope.decode_message(data), plain(cbor.decode(data[1:], 1 << 20)))[1])
    for vector in v["refused"]:
        count.refuse(vector["about"], envelope.decode_message, unhex(vector["hex"]))
    owner = unhex(v["names"]["owner"])
    for vector in v["layers"]:
        layer(count, vector, owner, 2)
    states = [(unhex(name), sequence, unhex(prefix)) for name, sequence, prefix in v["frontier"]["states"]]
    sums = envelope.bucket_sums(states)
    count.same("bucket hashes", [total >> 32 ^ total & 2**32 - 1 for total in sums], v["frontier"]["bucket_hashes"])
    count.same("fingerprint", envelope.fingerprint(states).hex(), v["frontier"]["fingerprint"])
    salt, members, classes = federation.read_audience(unhex(v["audience"]["cbor"]))
    names = {federation.member_hash(salt, unhex(v["names"][who])): ("trusted", since)
             for who, since in (("owner", 0), ("author", 9))}
    count.same("audience", (members, classes), (names, {"notes": (False, "brief"), "log": (True, "never")}))
    count.same("audience", plain(cbor.decode(unhex(v["audience"]["cbor"]))), v["audience"]["value"])
    count.same("keys", plain(cbor.decode(unhex(v["keys"]["cbor"]))), v["keys"]["value"])


def federation_json(count, v):
    inviter, joiner = (public_of(unhex(v[f"{who}_seed"])) for who in ("inviter", "joiner"))
    onion = federation.onion_address(public_of(unhex(v["inviter_onion_seed"])))
    count.same("onion", (onion, federation.onion_key(onion)), (v["inviter_onion"], public_of(unhex(v["inviter_onion_seed"]))))
    count.same("token hash", federation.token_hash(unhex(v["token"])).hex(), v["token_hash"])
    own = federation.onion_address(public_of(unhex(v["joiner_onion_seed"])))
    request = unhex(v["request"])
    count.accept("request", (own, "attic", "trusted"), federation.decode_request, request, inviter, joiner)
    count.refuse("request of another", federation.decode_request, request, inviter, inviter, name="signature")
    count.refuse("request to another", federation.decode_request, request, joiner, joiner, name="signature")
    count.accept("agreed", (True, "hut"), federation.decode_answer, unhex(v["answer_agreed"]))
    count.accept("refused", (False, "expired"), federation.decode_answer, unhex(v["answer_refused"]))
    addresses = ["10.77.0.1:8662", "[fd77:0:0:1::1]:8662"]
    invite = federation.Invite(inviter, unhex(public_of(unhex(v["inviter_onion_seed"])).hex()), unhex(v["token"]),
                               "trusted", "2027-01-15T08:00:00Z", addresses)
    count.accept("code", invite, federation.read_code, v["code"])
    count.accept("compact code", invite._replace(expires_s=1_800_000_000), federation.read_code, v["code_compact"])
    salt = bytes([6] * 16)
    members = {federation.member_hash(salt, joiner): ("trusted", 0), federation.member_hash(salt, inviter): ("observer", 0)}
    count.accept("audience", (salt, members, {}), federation.read_audience, unhex(v["audience"]))


def commands_json(count, v):
    sender, addressee, identity, expires = unhex(v["sender"]), unhex(v["addressee"]), unhex(v["id"]), v["expires_s"]
    words = [v["deploy"][name] for name in ("app", "version", "marketplace")]
    count.same("signed", federation.command_signed(sender, addressee, identity, expires, 0, words).hex(), v["signed_bytes"])
    count.accept("command", (identity, expires, words), federation.decode_command, unhex(v["command"]), sender, addressee)
    count.refuse("command to another", federation.decode_command, unhex(v["command"]), sender, sender, name="signature")
    for vector in v["answers"]:
        data = unhex(vector["bytes"])
        count.accept(vector["what"], identity, lambda: federation.decode_answer_to_command(data)[0])
    [notice] = [value for name, value in v.items() if name.startswith("revocation")]
    expected = (sender, addressee, notice["time_s"], unhex(notice["hash"]))
    count.accept("notice", expected, federation.decode_notice, unhex(notice["bytes"]))
    count.accept("notice as text", expected, lambda: federation.decode_notice(federation.notice_of_text(notice["text"])))


def air_json(count, v):
    owner = unhex(v["whole"][0]["layer"]["author"])
    for vector in v["whole"]:
        head = layer(count, vector["layer"], owner, 2)
        got, signature, packed, base, context = air.whole(owner, unhex(vector["bytes"]))
        count.same("whole", (got, signature.hex()), (head._replace(root=None), vector["layer"]["signature"]))
        if packed[0] >> 5 == 2:
            count.accept("whole: content", None, delta.decode_on_air)
        else:
            count.accept("whole: content", (cbor.decode(unhex(vector["layer"]["content"])), []),
                         envelope.map_delta, cbor.decode(packed), head.time)
    [first, second] = [value for name, value in v["update"].items() if name != "bytes"][0]
    first_plain = {**first, "changes": first["changes"]}
    for at, (found, expected) in enumerate(zip(air.update(unhex(v["update"]["bytes"])), (first, first_plain, second))):
        for name in ("distance", "time_step_ms", "audience_step", "signature", "print"):
            value = found[name].hex() if type(found[name]) is bytes else found[name]
            count.same(f"update {at}: {name}", value, expected[name])
        if found["changes"] is None:
            count.accept(f"update {at}: delta", None, delta.decode_on_air)
        else:
            count.same(f"update {at}: changes", found["changes"].hex(), expected["changes"])
    beat = v["heartbeat"]
    seconds, print4, others = air.heartbeat(unhex(beat["bytes"]))
    count.same("heartbeat", (print4.hex(), [[a.hex(), b.hex()] for a, b in others], seconds),
               (beat["fingerprint"], beat["others"], beat["carried_s"]))
    states = [(unhex(name), sequence, unhex(prefix)) for name, sequence, prefix in v["frontier"]["states"]]
    short = [(int.from_bytes(n[:2], "big") >> 4, sequence & 0xFFF, p[0]) for n, sequence, p in states]
    count.accept("long frontier", (False, states), air.frontier, unhex(v["frontier"]["long"]))
    count.accept("short frontier", (True, short), air.frontier, unhex(v["frontier"]["short, complete"]))
    [state] = [value for name, value in v.items() if name.startswith("provisional")]
    got = air.provisional(unhex(state) + bytes(8))
    count.same("provisional", (got["distance"], got["time_step_ms"], len(got["tags"])), (2, second["time_step_ms"], 2))


def frames_json(count, v):
    vectors = v["vectors"]
    one, two = (unhex(key) for key in vectors[0]["ed25519"][:2])
    key, epoch, boot = unhex(vectors[1]["key"]), vectors[1]["epoch"], vectors[2]
    seeds = {one: bytes([1] * 32), two: bytes([2] * 32)}
    for vector in vectors:
        def same(name, found):
            expected = vector[name]
            count.same(f"{vector['about']}: {name}", found, [unhex(x) for x in expected] if type(expected) is list else unhex(expected))
        if "x25519" in vector:
            same("x25519", [x_public(unhex(public)) for public in vector["ed25519"]])
        elif "clear_alias" in vector:
            same("alias", frames.alias(key, epoch))
            same("hints", [frames.hint(key, epoch, who) for who in (one, two)])
            same("clear_alias", frames.clear_alias(one))
            same("clear_hints", [frames.clear_hint(one, who) for who in (one, two)])
        elif "frame_key" in vector:
            sealing = frames.frame_key(key, epoch, two, vector["boot_epoch"], unhex(vector["salt"]))
            same("frame_key", sealing)
            frame, counter = unhex(vector["frame"]), vector["counter"]
            count.accept("frame", unhex(vector["payload"]), frames.open_frame, sealing, frame, counter)
            count.refuse("frame with another counter", frames.open_frame, sealing, frame, counter + 65536, name="tag")
            count.refuse("frame with a bit changed", frames.open_frame, sealing, frame[:-1] + bytes([frame[-1] ^ 1]), counter)
        elif "parts" in vector:
            expected = (boot["boot_epoch"], unhex(boot["salt"]), vector["counter"])
            for pieces in ([vector["frame"]], vector["parts"], vector["parts"][::-1]):
                count.accept("announcement", expected, frames.announcement, [unhex(piece) for piece in pieces], two)
            count.refuse("announcement of another", frames.announcement, [unhex(vector["frame"])], one, name="signature")
            same("request", unhex(vector["frame"])[:4])
        elif "request" in vector:
            count.same("filled up", frames.clear_payload(unhex(vector["frame"])), b"tide")
        elif "payload" in vector:
            count.same("clear", frames.clear_payload(unhex(vector["frame"])), unhex(vector["payload"]))
        elif "sealed" in vector:
            for seed in (2, 3):
                count.accept("sealed", key, frames.unseal, unhex(vector["sealed"]), one, epoch, bytes([seed] * 32))
            count.refuse("sealed, not for 1", frames.unseal, unhex(vector["sealed"]), one, epoch, seeds[one])
        elif "there" in vector:
            same("there", frames.pair_key(seeds[one], one, two, one, two))
            same("back", frames.pair_key(seeds[two], two, one, two, one))
            same("tag", frames.pair_tag(unhex(vector["there"]), b"tide"))
        elif "name" in vector:
            channel = frames.pair_channel(seeds[two], two, one)
            same("key", channel)
            same("alias", frames.alias(channel, 0))
            same("hint", frames.hint(channel, 0, one))
            same("name", frames.radio("pair channel name", *sorted((one, two)), length=32))
        elif "frames_1" in vector:
            there, back = ([unhex(f) for f in vector[name]] for name in ("frames_1", "frames_2"))
            message = frames.parts(there, 5, range(1, 16))
            noise, ephemeral, static, payload = frames.read_join(message, seeds[one], one, unhex(vector["token_hash"]))
            count.same("join", (payload, static), (unhex(vector["payload_1"]), x_public(two)))
            answer = frames.answer_join(noise, ephemeral, static, bytes([0x22] * 32), unhex(vector["payload_2"]))
            count.same("answer", frames.parts(back, 5, range(1, 16)), answer)
        else:
            count.same("counter", frames.infer(vector["expected"], vector["low"]), vector["inferred"])


def links_json(count, v):
    for vector in v["stream"]["accepted"]:
        expected = [(kind, unhex(content)) for kind, content in vector["frames"]]
        count.accept(vector["about"], expected, frames.stream_frames, unhex(vector["hex"]))
    for vector in v["stream"]["refused"]:
        count.refuse(vector["about"], frames.stream_frames, unhex(vector["hex"]))
    for vector in v["long_messages"]:
        payloads = [unhex(payload) for payload in vector["fragments"]]
        for left_out in range(len(payloads)):
            count.accept(vector["about"], (vector["kind"], unhex(vector["message"])),
                         frames.message_of, payloads[:left_out] + payloads[left_out + 1:])
    for vector in v["parity"]:
        data = {n: unhex(shard) for n, shard in enumerate(vector["data"])}
        for number, shard in vector["parity"].items():
            index = len(data) + int(number)
            count.same(f"parity {number}", frames.shard_at(len(data), data, index).hex(), shard)
            held = {**data, index: unhex(shard)}
            first = held.pop(0)
            count.same(f"restored by {number}", frames.shard_at(len(data), held, 0), first)
    for vector in v["counters"]:
        track = frames.Counters(vector["announced"])
        for step in vector["steps"]:
            count.same(f"counter {step['counter']}, {step['why']}", track.receive(step["counter"]), step["taken"])
    frame, carriers = unhex(v["carriers"]["frame"]), v["carriers"]
    count.same("KISS", frames.kiss(frame).hex(), carriers["kiss"])
    count.same("AX.25", frames.ax25("N0CALL", 1, frame).hex(), carriers["ax25"]["hex"])
    count.same("MeshCore", frames.meshcore(1, frame).hex(), carriers["meshcore companion"]["hex"])
    count.same("Meshtastic", frames.meshtastic(0x12345678, 1, frame).hex(), carriers["meshtastic"]["hex"])
    count.same("mDNS hint", blake3(bytes(range(8)), derive("tombolo 2026 lan hint 2", b"\1" * 32))[:8].hex(),
               "138a3dae56edbb97")


def refused_json(count, v):
    owner = public_of(bytes([1] * 32))
    readers = {
        "heartbeat on air": air.heartbeat, "frontier on air": air.frontier, "update": air.update,
        "provisional": air.provisional, "whole on air": lambda data: air.whole(owner, data),
        "join request": lambda data: federation.decode_request(data, owner, owner),
        "join answer": federation.decode_answer, "audience": federation.read_audience,
        "invite code": federation.read_code, "command": lambda data: federation.decode_command(data, owner, owner),
        "answer to a command": federation.decode_answer_to_command, "notice": federation.decode_notice,
    }
    for vector in v["refused"]:
        given = vector["text"] if "text" in vector else unhex(vector["hex"])
        count.refuse(f"{vector['what']}: {vector['why']}", readers[vector["what"]], given)


READERS = {name.removesuffix("_json") + ".json": reader for name, reader in globals().items() if name.endswith("_json")}


def main(folders):
    total, wrong = Count(), 0
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).glob("*.json")):
        count = Count()
        if path.name not in READERS:
            count.not_yet += 1
        else:
            READERS[path.name](count, json.loads(path.read_text()))
        print(f"{path.name:16} {count.accepted:4} accepted {count.refused:4} refused {count.not_yet:4} not read yet"
              f" {len(count.wrong):4} different")
        for line in count.wrong:
            print(f"  {line}")
        wrong += len(count.wrong)
        for name in ("accepted", "refused", "not_yet"):
            setattr(total, name, getattr(total, name) + getattr(count, name))
    print(f"totals: {total.accepted} accepted, {total.refused} refused, {total.not_yet} not read yet, {wrong} different")
    return 1 if wrong or not total.accepted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/vectors"]))
