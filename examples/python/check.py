#!/usr/bin/env python3
"""Reads every vector of a folder with the decoders beside this file: `python3 examples/python/check.py tests/vectors`.

Prints for each file how many were accepted and refused as they should be. Exit code 0: all as written down; 1: a difference; 77: a package is missing.
"""
import json
import pathlib
import sys

try:
    import air
    import cbor
    import coder
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
FOLDERS = []  # of the file that is being read


class Count:
    def __init__(self):
        self.accepted = self.refused = 0
        self.wrong = []

    def same(self, about, found, expected):
        if found == expected:
            self.accepted += 1
        else:
            self.wrong.append(f"{about}: {found!r} where {expected!r} is written down")

    def accept(self, about, expected, act, *arguments):
        """`act` has to return what is expected."""
        try:
            self.same(about, act(*arguments), expected)
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


def typed(value):
    """CBOR as `cbor.json` writes it."""
    if type(value) is int:
        return {"int": str(value)}
    if type(value) is cbor.Float:
        return {"float": f"{value.bits:016x}"}
    if type(value) is dict:
        return {"map": [[typed(key), typed(item)] for key, item in value.items()]}
    return {"hex": value.hex()} if type(value) is bytes else [typed(i) for i in value] if type(value) is list else value


# ---- one function a file -----------------------------------------------------------------------------

def cbor_json(count, vectors):
    for vector in vectors["accepted"]:
        data = unhex(vector["hex"])
        count.accept(vector["hex"], (data, vector["value"]), lambda: (cbor.encode(cbor.decode(data)), typed(cbor.decode(data))))
    for vector in vectors["refused"]:
        count.refuse(vector["hex"], cbor.decode, unhex(vector["hex"]), name=vector["error"])


def steps_json(count, vectors):
    for name, of in (("squash", coder.squash), ("stretch", coder.stretch)):
        for given, expected in vectors[name]:
            count.same(f"{name}({given})", of(given), expected)
    for case in vectors["coder"]:
        decoder = coder.Coder(unhex(case["hex"]))
        found = [[yes, scale, decoder.decide(yes, scale)] for yes, scale, _ in case["decisions"]]
        count.accept(case["about"], (case["decisions"], None), lambda: (found, decoder.finish()))
    deltas = json.loads((pathlib.Path(FOLDERS[0]) / "deltas.json").read_text())["deltas"]
    for walk in vectors["walks"]:
        vector, made = deltas[int(walk["delta"].rsplit("/", 1)[1])], []

        class Noting(coder.Coder):
            def decide(self, yes, scale=16):
                made.append([yes, scale, super().decide(yes, scale)])
                return made[-1][2]
        context = [vector["context"][n] for n in ("base_sequence", "sequence", "base_time_ms", "time_ms")]
        delta.Walk(cbor.decode(unhex(vector["base"])), context, Noting(cbor.decode(unhex(vector["delta"])))).delta()
        count.same(walk["about"], made, [decision[2:] for decision in walk["decisions"]])


def deltas_json(count, vectors):
    for vector in vectors["deltas"]:
        base, packed, target = (unhex(vector[name]) for name in ("base", "delta", "target"))
        context = [vector["context"][n] for n in ("base_sequence", "sequence", "base_time_ms", "time_ms")]
        count.accept(vector["about"], target, lambda: cbor.encode(delta.decode(cbor.decode(base), packed, context)))
    for vector in vectors["refused"]:
        base, packed = (unhex(vector[name]) for name in ("base", "delta"))
        context = [vector["context"][n] for n in ("base_sequence", "sequence", "base_time_ms", "time_ms")]
        count.refuse(vector["about"], lambda: delta.decode(cbor.decode(base), packed, context), name=vector["error"])


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
    end = v["audience_with_end"]
    name_hash = derive("tombolo 1 ended name", bytes([6] * 16) + end["name"].encode(), 8)
    count.same("end", federation.read_ends(unhex(end["cbor"])), {name_hash: (end["since"], end["last"])})
    count.same("keys", plain(cbor.decode(unhex(v["keys"]["cbor"]))), v["keys"]["value"])


def bundle_json(count, v):
    for vector in v["accepted"]:
        expected = (unhex(vector["from"]), [unhex(message) for message in vector["messages"]])
        count.accept(vector["about"], expected, envelope.open_bundle, unhex(vector["hex"]), unhex(vector["reader_seed"]))
        for message in expected[1]:
            count.accept("message of a bundle", message[0], lambda: envelope.decode_message(message)[0])
    for vector in v["refused"]:
        count.refuse(vector["why"], envelope.open_bundle, unhex(vector["hex"]), unhex(vector["reader_seed"]))


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
        got, signature, content = air.whole(owner, unhex(vector["bytes"]))
        count.same("whole", (got, signature.hex()), (head._replace(root=None), vector["layer"]["signature"]))
        if head.kind == envelope.MAP:
            content = envelope.in_order(envelope.map_delta(content, head.time)[0])
        count.same("whole: content", cbor.encode(content).hex(), vector["layer"]["content"])
    [first, second] = [value for name, value in v["update"].items() if name != "bytes"][0]
    first_plain = {**first, "changes": first["changes"]}
    for at, (found, expected) in enumerate(zip(air.update(unhex(v["update"]["bytes"])), (first, first_plain, second))):
        for name in ("distance", "time_step_ms", "audience_step", "signature", "print"):
            value = found[name].hex() if type(found[name]) is bytes else found[name]
            count.same(f"update {at}: {name}", value, expected[name])
        if "changes" in expected:
            count.same(f"update {at}: changes", cbor.encode(air.changes(found)).hex(), expected["changes"])
        else:
            made = air.target(found, cbor.decode(unhex(expected["base"])), expected["context"])
            count.same(f"update {at}: target", cbor.encode(made).hex(), expected["target"])
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
    made = air.target(got, cbor.decode(unhex(second["base"])), second["context"])
    count.same("provisional: target", cbor.encode(made).hex(), second["target"])


def alarms_json(count, v):
    document, node = cbor.decode(unhex(v["document"])), unhex(v["node"])
    for alarm, (label, identity) in zip(document["alarms"], v["ids"]):
        app = alarm[7] if len(alarm) > 7 else ""
        count.same(label, federation.alarm_id(alarm[0], alarm[1], alarm[3], app).hex(), identity)
        count.same(f"{label}: fields", (alarm[1], alarm[3], alarm[4]), (node[:16], v["episode"], v["raised_s"]))
    count.same("operator", document["to"].hex(), derive("tombolo 1 operator", v["operator"].encode(), 4).hex())
    count.same("the first is acknowledged", document["acks"][0][0].hex(), v["ids"][0][1])


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
    for vector in v["nacks"]:
        got = frames.nack(unhex(vector["hex"]), [3])
        count.same(vector["about"], (got[0].hex(), got[1].hex(), got[2]), (vector["whose"], vector["id"], vector["entries"]))
    named = v["names"]["certificate"]
    count.same("certificate", frames.certificate_key(unhex(named["hex"])).hex(), named["key"])
    frame, carriers = unhex(v["carriers"]["frame"]), v["carriers"]
    count.same("KISS", frames.kiss(frame).hex(), carriers["kiss"])
    count.same("AX.25", frames.ax25("N0CALL", 1, frame).hex(), carriers["ax25"]["hex"])
    count.same("MeshCore", frames.meshcore(1, frame).hex(), carriers["meshcore companion"]["hex"])
    count.same("Meshtastic", frames.meshtastic(0x12345678, 1, frame).hex(), carriers["meshtastic"]["hex"])
    count.same("KISS, read", frames.kiss_frames(unhex(carriers["kiss"])), [frame])
    count.same("AX.25, read", frames.read_ax25(unhex(carriers["ax25"]["hex"])), frame)
    named = v["names"]["hint"]
    count.same("mDNS hint", frames.lan_hint(unhex(named["key"]), unhex(named["salt"])).hex(), named["hint"])


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


def on_base(base, data):
    """Whether a compact envelope of a snapshot holds on a base: its root is right, its delta is read, its signature is the author's."""
    base, compact = envelope.decode_whole(base), envelope.decode_compact(data)
    head = base.head
    following = head._replace(sequence=head.sequence + compact.distance, time=head.time + compact.time_step_ms,
                              audience_sequence=head.audience_sequence + compact.audience_step)
    cbor.refuse_unless(compact.root_prefix == head.root[:2], "Base")
    made = delta.decode(base.content[0], compact.delta, (head.sequence, following.sequence, head.time, following.time))
    cbor.refuse_unless(envelope.holds(following._replace(root=blake3(cbor.encode(made))), compact.signature), "signature")


def rules_json(count, v):
    """What does not hold although its shape may be right. Each reader returns what should be equal, or refuses."""
    def opened(data):
        whole = envelope.decode_whole(data)
        cbor.refuse_unless(envelope.holds(whole.head, whole.signature), "signature")

    def track(c):
        counters = frames.Counters(c["announced"])
        for before in c["before"]:
            counters.receive(before)
        cbor.refuse_unless(counters.receive(c["counter"]), "counter")

    def air_whole(data):
        head, signature, content = air.whole(owner, data)
        root = blake3(cbor.encode(content))
        cbor.refuse_unless(envelope.holds(head._replace(root=root), signature), "signature")

    def same(found, expected):
        cbor.refuse_unless(found.hex() == expected, "differs")

    def join(c):
        seed = unhex(c["inviter_seed"])
        message = frames.parts([unhex(f) for f in c["frames"]], 5, range(1, 16))
        frames.read_join(message, seed, public_of(seed), unhex(c["token_hash"]))

    def tag(c):
        seed, speaker = unhex(c["seed"]), unhex(c["speaker"])
        key = frames.pair_key(seed, public_of(seed), speaker, speaker, public_of(seed))
        same(frames.pair_tag(key, unhex(c["bytes"])), c["tag"])

    owner = public_of(bytes([1] * 32))
    readers = {
        "whole envelope": lambda c: opened(unhex(c["hex"])),
        "compact envelope": lambda c: on_base(unhex(c["base"]), unhex(c["hex"])),
        "map delta": lambda c: envelope.map_delta(cbor.decode(unhex(c["hex"])), c["time_ms"]),
        "layer hash": lambda c: same(envelope.layer_hash(unhex(c["owner"]), unhex(c["author"]), c["name"]), c["hash"]),
        "member hash": lambda c: same(federation.member_hash(unhex(c["salt"]), unhex(c["identity"])), c["hash"]),
        "fingerprint": lambda c: same(envelope.fingerprint([(unhex(a), n, unhex(b)) for a, n, b in c["states"]]), c["fingerprint"]),
        "token hash": lambda c: same(federation.token_hash(unhex(c["token"])), c["hash"]),
        "signed join request": lambda c: federation.decode_request(unhex(c["hex"]), unhex(c["inviter"]), unhex(c["joiner"])),
        "signed command": lambda c: federation.decode_command(unhex(c["hex"]), unhex(c["sender"]), unhex(c["addressee"])),
        "signed notice": lambda c: federation.decode_notice(unhex(c["hex"])),
        "confirmation of a notice": lambda c: same(federation.decode_notice(unhex(c["hex"]))[3], c["hash"]),
        "notice as text": lambda c: federation.decode_notice(federation.notice_of_text(c["text"])),
        "alarm": lambda c: cbor.refuse_unless(federation.read_alarms(unhex(c["hex"])), "alarm"),
        "alarm id": lambda c: same(federation.alarm_id(c["kind"], unhex(c["node"]), c["episode"], c["app"]), c["id"]),
        "ends of an audience": lambda c: cbor.refuse_unless(federation.read_ends(unhex(c["hex"])), "ends"),
        "whole on air": lambda c: air_whole(unhex(c["hex"])),
        "certificate": lambda c: frames.certificate_key(unhex(c["hex"])),
        "mDNS hint": lambda c: same(frames.lan_hint(unhex(c["key"]), unhex(c["hint"])[:8]), c["hint"]),
        "alias and hint": lambda c: same(frames.alias(unhex(c["key"]), c["epoch"]) + frames.hint(
            unhex(c["key"]), c["epoch"], unhex(c["sender"])), c["alias"] + c["hint"]),
        "frame": lambda c: frames.open_frame(unhex(c["frame_key"]), unhex(c["hex"]), c["counter"]),
        "clear frame": lambda c: frames.clear_payload(unhex(c["hex"])),
        "counter": track,
        "announcement": lambda c: frames.announcement([unhex(f) for f in c["frames"]], unhex(c["sender"])),
        "sealed key": lambda c: frames.unseal(unhex(c["sealed"]), unhex(c["owner"]), c["epoch"], unhex(c["reader_seed"])),
        "pair tag": tag,
        "channel of two": lambda c: same(frames.pair_channel(
            unhex(c["seed"]), public_of(unhex(c["seed"])), unhex(c["other"])), c["key"]),
        "join": join,
        "fragment": lambda c: frames.fragment(unhex(c["hex"])),
        "long message": lambda c: frames.message_of([unhex(f) for f in c["fragments"]]),
        "NACK": lambda c: frames.nack(unhex(c["hex"]), [3]),
        "KISS": lambda c: cbor.refuse_unless(frames.kiss_frames(unhex(c["hex"])), "KISS"),
        "AX.25": lambda c: frames.read_ax25(unhex(c["hex"])),
    }
    for case in v["refused"]:
        count.refuse(f"{case['what']}: {case['why']}", readers[case["what"]], case)


def transcript(count, lines):
    """What nodes sent: each message is one of the pages, each whole layer is signed."""
    for line in map(json.loads, lines):
        data = unhex(line.get("hex") or "")
        about = f"{line.get('node')} at {line.get('at_ms')}"
        if line.get("output") == "frame":
            count.accept(about, True, lambda: frames.header(data + bytes(2)).kind <= 10)
        elif line.get("output") == "join_answer":
            count.accept(about, True, lambda: federation.decode_answer(data)[0])
        elif line.get("output") == "send" and data[0] == 5:
            whole = envelope.decode_whole(data[1:])
            count.same(f"{about}: signature", envelope.holds(whole.head, whole.signature), True)
        elif line.get("output") == "send" and not 0x0B <= data[0] <= 0x0E:
            count.accept(about, data[0] if data[0] < 0x80 else 0x80, lambda: envelope.decode_message(data)[0])


READERS = {name.removesuffix("_json") + ".json": reader for name, reader in globals().items() if name.endswith("_json")}


def main(folders):
    sys.setrecursionlimit(10_000)
    total, wrong = Count(), 0
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).glob("*.json")):
        count = Count()
        FOLDERS[:] = [path.parent]
        READERS[path.name](count, json.loads(path.read_text()))
        print(f"{path.name:16} {count.accepted:4} accepted {count.refused:4} refused {len(count.wrong):4} different")
        for line in count.wrong:
            print(f"  {line}")
        wrong += len(count.wrong)
        total.accepted, total.refused = total.accepted + count.accepted, total.refused + count.refused
    count = Count()
    for path in sorted(path for folder in folders for path in pathlib.Path(folder).glob("transcripts/*.jsonl")):
        transcript(count, path.read_text().splitlines()[1:])
    print(f"transcripts      {count.accepted:4} messages and frames as the pages have them {len(count.wrong):4} different")
    for line in count.wrong:
        print(f"  {line}")
    wrong += len(count.wrong)
    print(f"totals: {total.accepted} accepted, {total.refused} refused, {wrong} different")
    return 1 if wrong or not total.accepted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/vectors"]))
