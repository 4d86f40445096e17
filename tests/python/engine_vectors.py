"""The vectors of src/envelope, src/commands and src/watches: one function a file."""
import air
import cbor
import delta
import envelope
import federation
import layers
from counting import states, unhex
from keys import blake3, derive, public_of

def plain(value):
    """CBOR as `messages.json` writes it."""
    if type(value) is bytes:
        return {"hex": value.hex()}
    if type(value) is int and value < 0:
        return {"int": str(value)}
    if type(value) is list:
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if type(value) is dict else value

def layer(count, vector, owner, audience_sequence):
    """A layer: root, name, signed bytes and signature, and the whole envelope around it."""
    about, whole = vector["name"], envelope.decode_whole(vector.b("whole_envelope"))
    head = envelope.Head(whole.head.kind, owner, about, vector.b("author"), vector["sequence"],
                         vector["time_ms"], audience_sequence, vector.b("root"))
    signed = cbor.encode(["tombolo-layer-1", *head])
    count.same(f"{about}: head", whole.head, head)
    count.same(f"{about}: content", cbor.encode(whole.content[0]), vector.b("content"))
    count.same(f"{about}: hash", envelope.layer_hash(owner, head.author, about), vector.b("layer_print"))
    count.same(f"{about}: signed bytes", signed, vector.b("signed_bytes"))
    count.same(f"{about}: signature", (whole.signature, layers.holds(head, whole.signature)),
               (vector.b("signature"), True))
    if head.kind == envelope.MAP:
        count.same(f"{about}: order", envelope.in_order(whole.content[0]), cbor.decode(vector.b("content")))
    return head

def envelope_json(count, v):
    owner, sequence = v.b("owner"), v["audience_sequence"]
    count.same("owner", (public_of(v.b("owner_seed")), federation.did(owner)), (owner, v["owner_did"]))
    count.same("writer", public_of(v.b("writer_seed")), v.b("writer"))
    names = ("snapshot", "snapshot_next", "map")
    base, following, _ = (layer(count, v[name], owner, sequence) for name in names)
    count.same("root of an empty map", envelope.map_root([]), v.b("map_empty_root"))
    compact = envelope.decode_compact(v["compact"].b("lan"))
    on_base = envelope.following(base, compact)._replace(root=following.root)
    address = envelope.layer_hash(owner, owner, base.name)[0]
    count.same("compact", (on_base, compact.address, compact.root_prefix, compact.delta),
               (following, address, base.root[:2], v["compact"].b("delta")))
    count.same("compact: signature", layers.holds(on_base, compact.signature), True)
    context = (base.sequence, on_base.sequence, base.time, on_base.time)
    held = cbor.decode(v["snapshot"].b("content"))
    count.accept("compact: delta", v["snapshot_next"].b("content"), lambda: cbor.encode(
        delta.decode(held, compact.delta, context)))
    written = [cbor.decode(entry.b("cbor")) for entry in v["entries"]]
    for vector, item in zip(v["entries"], written):
        count.accept("entry", (vector["key"], vector["saw_hash"]), lambda: (
            envelope.entry(item), blake3(vector.b("cbor"))[:4].hex()))
        count.same("stamp", max(item[1], -1 - item[1]), int(vector["stamp"]))
    changes, time = cbor.decode(v["map_delta"].b("cbor")), v["map_delta"]["time_ms"]
    count.accept("map delta", (written, [["dropped"]]), envelope.map_delta, changes, time)

def messages_json(count, v):
    for vector in v["accepted"]:
        data = vector.b("hex")
        if "fields" in vector:
            fields = dict(vector["fields"])
            for name in ("root_prefix", "signature", "delta"):
                fields[name] = unhex(fields[name])
            count.accept(vector["about"], fields, lambda: envelope.decode_message(data)[1]._asdict())
        else:
            count.accept(vector["about"], vector["array"], lambda: (
                envelope.decode_message(data), plain(cbor.decode(data[1:], 1 << 20)))[1])
    for vector in v["refused"]:
        count.refuse(vector["about"], envelope.decode_message, vector.b("hex"))
    for vector in v["layers"]:
        layer(count, vector, v["names"].b("owner"), 2)
    packed = v["packed"]
    entries = [cbor.decode(bytes.fromhex(item)) for item in packed["entries"]]
    count.accept("packed entries", entries, envelope.unpack, packed.b("packed"))
    hashes = [blake3(cbor.encode(item), packed.b("root"))[:4].hex() for item in entries]
    count.same("short hashes", hashes, packed["short_hashes"])
    for vector in packed["refused"]:
        count.refuse(vector["about"], envelope.unpack, vector.b("hex"))
    held = states(v["frontier"]["states"])
    sums = envelope.bucket_sums(held)
    hashes = [total >> 32 ^ total % 2**32 for total in sums]
    count.same("bucket hashes", hashes, v["frontier"]["bucket_hashes"])
    count.same("fingerprint", envelope.fingerprint(held), v["frontier"].b("fingerprint"))
    salt, members, classes = federation.read_audience(v["audience"].b("cbor"))
    names = {federation.member_hash(salt, v["names"].b(who)): ("trusted", since)
             for who, since in (("owner", 0), ("author", 9))}
    count.same("audience", (members, classes), (names, {"notes": (False, "brief"), "log": (True, "never")}))
    end = v["audience_with_end"]
    name_hash = derive("tombolo 1 ended name", bytes([6] * 16) + end["name"].encode(), 8)
    count.same("end", federation.read_ends(end.b("cbor")), {name_hash: (end["since"], end["last"])})
    for name in ("audience", "keys"):
        count.same(name, plain(cbor.decode(v[name].b("cbor"))), v[name]["value"])

def bundle_json(count, v):
    for vector in v["accepted"]:
        messages, given = vector.b("messages"), (vector.b("hex"), vector.b("reader_seed"))
        count.accept(vector["about"], (vector.b("from"), messages), envelope.open_bundle, *given)
        for message in messages:
            count.accept("message of a bundle", message[0], lambda: envelope.decode_message(message)[0])
    for vector in v["refused"]:
        count.refuse(vector["why"], envelope.open_bundle, vector.b("hex"), vector.b("reader_seed"))

def federation_json(count, v):
    inviter, joiner, onion_key, own_onion = (public_of(v.b(f"{who}_seed")) for who in (
        "inviter", "joiner", "inviter_onion", "joiner_onion"))
    onion = federation.onion_address(onion_key)
    count.same("onion", (onion, federation.onion_key(onion)), (v["inviter_onion"], onion_key))
    count.same("token hash", federation.token_hash(v.b("token")), v.b("token_hash"))
    request, own = v.b("request"), federation.onion_address(own_onion)
    count.accept("request", (own, "attic", "trusted"), federation.decode_request, request, inviter, joiner)
    count.refuse("request of another", federation.decode_request, request, inviter, inviter, name="signature")
    count.refuse("request to another", federation.decode_request, request, joiner, joiner, name="signature")
    signed = federation.join_signed(inviter, joiner, own, v.b("token_hash"), 2, 1_800_000_000_000)
    count.same("signed bytes", signed, v.b("request_signed_bytes"))
    on_air, read = v.b("air_request"), federation.decode_air_request
    expected = (own, "attic", "trusted", (7, bytes([7] * 16)))
    count.accept("request on air", expected, read, on_air, inviter, v.b("token_hash"))
    count.refuse("request on air to another", read, on_air, joiner, v.b("token_hash"), name="signature")
    count.refuse("request on air with another token", read, on_air, inviter, bytes(32), name="signature")
    agreed, refused = (True, "hut", (8, bytes([8] * 16))), (False, "expired", None)
    count.accept("agreed on air", agreed, federation.decode_air_answer, v.b("air_answer_agreed"))
    count.accept("refused on air", refused, federation.decode_air_answer, v.b("air_answer_refused"))
    count.accept("agreed", (True, "hut"), federation.decode_answer, v.b("answer_agreed"))
    count.accept("refused", (False, "expired"), federation.decode_answer, v.b("answer_refused"))
    addresses = ["10.77.0.1:8662", "[fd77:0:0:1::1]:8662"]
    invite = federation.Invite(inviter, onion_key, v.b("token"), "trusted", "2027-01-15T08:00:00Z", addresses)
    count.accept("code", invite, federation.read_code, v["code"])
    compact = invite._replace(expires_s=1_800_000_000)
    count.accept("compact code", compact, federation.read_code, v["code_compact"])
    salt = bytes([6] * 16)
    members = {federation.member_hash(salt, who): (level, 0)
               for who, level in ((joiner, "trusted"), (inviter, "observer"))}
    count.accept("audience", (salt, members, {}), federation.read_audience, v.b("audience"))

def commands_json(count, v):
    sender, addressee, identity = v.b("sender"), v.b("addressee"), v.b("id")
    made, expires = v["made_s"], v["expires_s"]
    words = [v["deploy"][name] for name in ("app", "version", "marketplace")]
    signed = federation.command_signed(sender, addressee, identity, made, expires, 0, words)
    count.same("signed", signed, v.b("signed_bytes"))
    read = federation.decode_command
    count.accept("command", (identity, made, expires, words), read, v.b("command"), sender, addressee)
    count.refuse("command to another", read, v.b("command"), sender, sender, name="signature")
    for vector in v["answers"]:
        answer = vector.b("bytes")
        count.accept(vector["what"], identity, lambda: federation.decode_answer_to_command(answer)[0])
    [notice] = [value for name, value in v.items() if name.startswith("revocation")]
    expected = (sender, addressee, notice["time_s"], notice.b("hash"))
    count.accept("notice", expected, federation.decode_notice, notice.b("bytes"))
    count.accept("notice as text", expected, lambda: federation.decode_notice(
        federation.notice_of_text(notice["text"])))

def air_json(count, v):
    owner = v["whole"][0]["layer"].b("author")
    for vector in v["whole"]:
        head = layer(count, vector["layer"], owner, 2)
        got, signature, content = air.whole(owner, vector.b("bytes"))
        count.same("whole", (got, signature), (head._replace(root=None), vector["layer"].b("signature")))
        if head.kind == envelope.MAP:
            content = envelope.in_order(envelope.map_delta(content, head.time)[0])
        count.same("whole: content", cbor.encode(content), vector["layer"].b("content"))
    [(first, second)] = [value for name, value in v["update"].items() if name != "bytes"]
    for found, expected in zip(air.update(v["update"].b("bytes")), (first, first, second)):
        for name in ("distance", "time_step_ms", "audience_step"):
            count.same(f"update: {name}", found[name], expected[name])
        for name in ("signature", "print"):
            count.same(f"update: {name}", found[name], expected.b(name))
        if "changes" in expected:
            count.same("update: changes", cbor.encode(air.changes(found)), expected.b("changes"))
        else:
            made = air.target(found, cbor.decode(expected.b("base")), expected["context"])
            count.same("update: target", cbor.encode(made), expected.b("target"))
    beat = v["heartbeat"]
    expected = (beat["carried_s"], beat.b("fingerprint"), [tuple(unhex(other)) for other in beat["others"]])
    count.accept("heartbeat", expected, air.heartbeat, beat.b("bytes"))
    held = states(v["frontier"]["states"])
    short = [(int.from_bytes(name[:2], "big") >> 4, sequence & 0xFFF, prefix[0])
             for name, sequence, prefix in held]
    count.accept("long frontier", (False, held), air.frontier, v["frontier"].b("long"))
    count.accept("short frontier", (True, short), air.frontier, v["frontier"].b("short, complete"))
    [state] = [v.b(name) for name in v if name.startswith("provisional")]
    got = air.provisional(state + bytes(8))
    expected = (2, second["time_step_ms"], 2)
    count.same("provisional", (got["distance"], got["time_step_ms"], len(got["tags"])), expected)
    made = air.target(got, cbor.decode(second.b("base")), second["context"])
    count.same("provisional: target", cbor.encode(made), second.b("target"))
    mine, yours, audience = v["pair"]["keys"]
    keys = [(sequence, unhex(prefix)) for sequence, prefix in (mine, yours)]
    count.accept("pair: which keys", (0, (*keys, audience)), air.pair, v["pair"].b("which"))
    for kind, name in enumerate(("mine, then a layer", "yours, then a layer"), 1):
        count.accept(f"pair: {name}", (kind, b"\x80"), air.pair, v["pair"].b(name))

def alarms_json(count, v):
    document, node = cbor.decode(v.b("document")), v.b("node")
    for alarm, (label, identity) in zip(document["alarms"], v["ids"]):
        app = alarm[7] if len(alarm) > 7 else ""
        count.same(label, federation.alarm_id(alarm[0], alarm[1], alarm[3], app), unhex(identity))
        fields = (node[:16], v["episode"], v["raised_s"])
        count.same(f"{label}: fields", (alarm[1], alarm[3], alarm[4]), fields)
    count.same("operator", document["to"], derive("tombolo 1 operator", v["operator"].encode(), 4))
    count.same("the first is acknowledged", document["acks"][0][0], unhex(v["ids"][0][1]))
