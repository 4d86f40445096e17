"""The vectors of transports/FORMAT.md and transports/mesh/FORMAT.md: one function a file."""
import frames
from counting import unhex
from keys import public_of, x_public

def frames_json(count, v):
    """Each vector has other fields: the first that it has among these shows what it is."""
    one, two = (public_of(bytes([seed] * 32)) for seed in (1, 2))
    key, epoch = v["vectors"][1].b("key"), v["vectors"][1]["epoch"]
    boot = v["vectors"][2]
    readers = {"x25519": identities, "clear_alias": names, "frame_key": sealed_frame, "parts": announcement,
               "request": filled, "payload": clear_frame, "sealed": sealed_key, "there": pair, "name": channel,
               "frames_1": join, "inferred": counter}
    for vector in v["vectors"]:
        reader = next(reader for field, reader in readers.items() if field in vector)
        reader(count, vector, one, two, key, epoch, boot)

def same(count, vector, **found):
    for name, value in found.items():
        count.same(f"{vector['about']}: {name}", value, vector.b(name))

def identities(count, vector, *_):
    same(count, vector, x25519=[x_public(public) for public in vector.b("ed25519")])

def names(count, vector, one, two, key, epoch, _):
    same(count, vector, alias=frames.alias(key, epoch), hints=[frames.hint(key, epoch, who) for who in (one, two)],
         clear_alias=frames.clear_alias(one), clear_hints=[frames.clear_hint(one, who) for who in (one, two)],
         clear_checks=[frames.clear_check(one, who) for who in (one, two)])

def sealed_frame(count, vector, _, two, key, epoch, __):
    sealing = frames.frame_key(key, epoch, two, vector["boot_epoch"], vector.b("salt"))
    same(count, vector, frame_key=sealing)
    frame, number, read = vector.b("frame"), vector["counter"], frames.open_frame
    count.accept("frame", vector.b("payload"), read, sealing, frame, number)
    count.refuse("frame with another counter", read, sealing, frame, number + 65536, name="tag")
    count.refuse("frame with a bit changed", read, sealing, frame[:-1] + bytes([frame[-1] ^ 1]), number)

def announcement(count, vector, one, two, _, __, boot):
    expected = (boot["boot_epoch"], boot.b("salt"), vector["counter"])
    for pieces in ([vector.b("frame")], vector.b("parts"), vector.b("parts")[::-1]):
        count.accept("announcement", expected, frames.announcement, pieces, two)
    count.refuse("announcement of another", frames.announcement, [vector.b("frame")], one, name="signature")
    same(count, vector, request=vector.b("frame")[:4])

def filled(count, vector, *_):
    count.same("filled up", frames.clear_payload(vector.b("frame")), b"tide")

def clear_frame(count, vector, *_):
    count.same("clear", frames.clear_payload(vector.b("frame")), vector.b("payload"))

def sealed_key(count, vector, one, _, key, epoch, __):
    for seed in (2, 3):
        count.accept("sealed", key, frames.unseal, vector.b("sealed"), one, epoch, bytes([seed] * 32))
    count.refuse("sealed, not for 1", frames.unseal, vector.b("sealed"), one, epoch, bytes([1] * 32))

def pair(count, vector, one, two, *_):
    there, back = (frames.pair_key(bytes([seed] * 32), own, other, own, other)
                   for seed, own, other in ((1, one, two), (2, two, one)))
    same(count, vector, there=there, back=back, tag=frames.pair_tag(there, b"tide"))

def channel(count, vector, one, two, *_):
    key = frames.pair_channel(bytes([2] * 32), two, one)
    same(count, vector, key=key, alias=frames.alias(key, 0), hint=frames.hint(key, 0, one),
         name=frames.radio("pair channel name", *sorted((one, two)), length=32))

def join(count, vector, one, two, *_):
    there, back = (frames.parts(vector.b(name), 5, range(1, 16)) for name in ("frames_1", "frames_2"))
    noise, ephemeral, static, payload = frames.read_join(there, bytes([1] * 32), one, vector.b("token_hash"))
    count.same("join", (payload, static), (vector.b("payload_1"), x_public(two)))
    answer = frames.answer_join(noise, ephemeral, static, bytes([0x22] * 32), vector.b("payload_2"))
    count.same("answer", back, answer)

def counter(count, vector, *_):
    count.same("counter", frames.infer(vector["expected"], vector["low"]), vector["inferred"])

def links_json(count, v):
    for vector in v["stream"]["accepted"]:
        expected = [(kind, unhex(content)) for kind, content in vector["frames"]]
        count.accept(vector["about"], expected, frames.stream_frames, vector.b("hex"))
    for vector in v["stream"]["refused"]:
        count.refuse(vector["about"], frames.stream_frames, vector.b("hex"))
    for vector in v["long_messages"]:
        payloads, expected = vector.b("fragments"), (vector["kind"], vector.b("message"))
        for left_out in range(len(payloads)):
            rest = payloads[:left_out] + payloads[left_out + 1:]
            count.accept(vector["about"], expected, frames.message_of, rest)
    two = v["two_blocks"]
    message = two["kind"], two.b("message")
    count.accept(two["about"], message, frames.message_of, two.b("fragments"))
    count.accept("without the first row", message, frames.message_of, two.b("fragments")[2:])
    for vector in v["parity"]:
        data = dict(enumerate(vector.b("data")))
        for number, shard in vector["parity"].items():
            index = len(data) + int(number)
            count.same(f"parity {number}", frames.shard_at(len(data), data, index).hex(), shard)
            held = {**data, index: unhex(shard)}
            first = held.pop(0)
            count.same(f"restored by {number}", frames.shard_at(len(data), held, 0), first)
    for vector in v["counters"]:
        track = frames.Counters(vector["announced"])
        for step in vector["steps"]:
            about = f"counter {step['counter']}, {step['why']}"
            count.same(about, track.receive(step["counter"]), step["taken"])
    for vector in v["nacks"]:
        expected = (vector.b("whose"), vector.b("id"), vector["entries"])
        count.accept(vector["about"], expected, frames.nack, vector.b("hex"), [3])
    carriers(count, v["carriers"])
    certificate, hint = v["names"]["certificate"], v["names"]["hint"]
    count.same("certificate", frames.certificate_key(certificate.b("hex")), certificate.b("key"))
    count.same("mDNS hint", frames.lan_hint(hint.b("key"), hint.b("salt")), hint.b("hint"))

def carriers(count, v):
    frame = v.b("frame")
    count.same("KISS", frames.kiss(frame), v.b("kiss"))
    count.same("AX.25", frames.ax25("N0CALL", 1, frame), v["ax25"].b("hex"))
    count.same("MeshCore", frames.meshcore(1, frame), v["meshcore companion"].b("hex"))
    count.same("Meshtastic", frames.meshtastic(0x12345678, 1, frame), v["meshtastic"].b("hex"))
    count.same("KISS, read", frames.kiss_frames(v.b("kiss")), [frame])
    count.same("AX.25, read", frames.read_ax25(v["ax25"].b("hex")), frame)
