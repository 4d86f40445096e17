"""Joining, codes, the audience: src/envelope/FORMAT.md. Commands, revocations: src/commands/FORMAT.md. Alarms."""
import base64
import hashlib
import ipaddress
import json
import re
from collections import namedtuple

import cbor
from cbor import refuse_unless
from envelope import items, number, octets
from keys import blake3, derive
from layers import BASE58, is_strict, verify

LEVELS = ["untrusted", "observer", "trusted"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
REFUSALS = ("token", "expired", "signature", "busy", "full")
Invite = namedtuple("Invite", "inviter onion token level expires_s addresses")

# ---- names -------------------------------------------------------------------------------------------

def did(public):
    value, text = int.from_bytes(b"\xed\x01" + public, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = BASE58[digit] + text
    return "did:key:z" + text

def onion_address(public):
    check = hashlib.sha3_256(b".onion checksum" + public + b"\x03").digest()[:2]
    return base64.b32encode(public + check + b"\x03").decode().lower() + ".onion"

def onion_key(text):
    name = text.removesuffix(".onion")
    refuse_unless(len(name) == 56, "Onion")
    key = base64.b32decode(name.upper())[:32]
    refuse_unless(onion_address(key) == name + ".onion", "Onion")
    return key

# ---- joining -----------------------------------------------------------------------------------------

def token_hash(token):
    return derive("tombolo 1 invite token", token)

def join_signed(inviter, joiner, onion, hashed, level, time):
    return cbor.encode(["tombolo-join-1", inviter, joiner, onion, hashed, level, time])

def person_name(text):
    """What a node calls itself: any text; whether it may be shown is another matter."""
    refuse_unless(type(text) is str, "Shape")
    return text

def decode_request(data, inviter, joiner):
    fields = items(cbor.decode(data, 4096, 2), 7)
    domain, token, onion, name, level, time, signature = fields
    refuse_unless(domain == "tombolo-join-1" and type(onion) is str and len(onion) <= 62, "Shape")
    refuse_unless(number(level) <= 2, "Shape")
    signed = join_signed(inviter, joiner, onion, token_hash(octets(token, 16)), level, number(time, 64))
    refuse_unless(verify(joiner, signed, octets(signature, 64)), "signature")
    return onion, person_name(name), LEVELS[level]

def decode_answer(data):
    domain, agreed, text = items(cbor.decode(data, 4096, 2), 3)
    refuse_unless(domain == "tombolo-join-1" and type(agreed) is bool, "Shape")
    refuse_unless(agreed or text in REFUSALS, "Shape")
    return agreed, person_name(text)

def decode_air_request(data, inviter, token_hash):
    """The payload of a request on air: the token itself does not travel."""
    fields = items(cbor.decode(data, 1024, 2), 8)
    joiner, onion_key, name, level, time, signature, epoch, key = fields
    onion = onion_address(octets(onion_key, 32))
    refuse_unless(number(level) <= 2, "Shape")
    signed = join_signed(inviter, octets(joiner, 32), onion, token_hash, level, number(time, 64))
    refuse_unless(verify(joiner, signed, octets(signature, 64)), "signature")
    return onion, person_name(name), LEVELS[level], (number(epoch, 32), octets(key, 16))

def decode_air_answer(data):
    fields = items(cbor.decode(data, 1024, 2), 2, 4)
    refuse_unless(fields[0] is (len(fields) == 4), "Shape")
    refuse_unless(fields[0] or fields[1] in REFUSALS, "Shape")
    return fields[0], person_name(fields[1]), (number(fields[2], 32), octets(fields[3], 16)) if fields[0] else None

# ---- invite codes ------------------------------------------------------------------------------------

def read_code(text):
    text = "".join(text.split())
    if text.startswith("fed1:"):
        body = text[5:]
        code = json.loads(unpadded(base64.urlsafe_b64decode, body, 4))
        public = octets(bytes.fromhex(code["pubkey"]), 32)
        refuse_unless(did(public) == code["did"] and is_strict(public), "Identity")
        refuse_unless(code.get("level") in (None, *LEVELS), "Level")
        refuse_unless(code.get("expires") is None or TIME.match(code["expires"]), "Expires")
        refuse_unless(all(":" in address for address in code.get("addrs", [])), "Address")
        return Invite(public, onion_key(code["onion"]), octets(bytes.fromhex(code["token"]), 16),
                      code.get("level"), code.get("expires"), code.get("addrs", [])[:8])
    refuse_unless(text.upper().startswith("FED1C:"), "Prefix")
    body = text[6:].upper()
    return read_compact(unpadded(base64.b32decode, body, 8))

def read_compact(data):
    refuse_unless(len(data) >= 86 and data[0] == 1 and is_strict(data[1:33]), "Content")
    minutes, rest, addresses = int.from_bytes(data[82:86], "big"), data[86:], []
    while rest and len(addresses) < 8:
        length = {4: 4, 6: 16}.get(rest[0])
        refuse_unless(length and len(rest) >= length + 3, "Content")
        host, port = ipaddress.ip_address(rest[1:1 + length]), rest[1 + length:3 + length]
        port = int.from_bytes(port, "big")
        addresses.append(f"{host}:{port}" if length == 4 else f"[{host}]:{port}")
        rest = rest[3 + length:]
    level = LEVELS[data[81]] if data[81] < 3 else None
    expires_s = None if minutes == 2**32 - 1 else minutes * 60
    return Invite(data[1:33], data[33:65], data[65:81], level, expires_s, addresses)

# ---- the audience ------------------------------------------------------------------------------------

def member_hash(salt, identity):
    return derive("tombolo 1 audience print", salt + identity, 16)

def read_audience(data):
    """(salt, {hash: (level, since)}, {name: (confidential, radio)})"""
    value = cbor.decode(data)
    refuse_unless(type(value) is dict and len(items(value.get("members"))) <= 1000, "Audience")
    members = {}
    for member in value["members"]:
        refuse_unless(len(items(member)) >= 2 and number(member[1]) <= 2, "Audience")
        members[octets(member[0], 16)] = (LEVELS[member[1]], number(member[2]) if len(member) > 2 else 0)
    classes = {name: (of[0] is not False, {1: "brief", 2: "full"}.get(of[1], "never"))
               for name, of in value.get("classes", {}).items()}
    return octets(value.get("salt"), 16), members, classes

# ---- commands and revocations ------------------------------------------------------------------------

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")

def command_signed(sender, addressee, identity, made, expires, kind, arguments):
    return cbor.encode(["tombolo-command-1", sender, addressee, identity, made, expires, kind, arguments])

def decode_command(data, sender, addressee):
    identity, made, expires, kind, arguments, signature = items(cbor.decode(data, 1024, 4), 6)
    octets(identity, 16), number(made, 64), number(expires, 64), number(kind, 64)
    signed = command_signed(sender, addressee, identity, made, expires, kind, arguments)
    refuse_unless(verify(sender, signed, octets(signature, 64)), "signature")
    refuse_unless(kind == 0 and NAME.match(items(arguments, 3)[0]) and NAME.match(arguments[1]), "malformed")
    return identity, made, expires, arguments

def decode_answer_to_command(data):
    identity, status, *rest = items(cbor.decode(data, 4352, 4), 2, 3, 5)
    octets(identity, 16)
    refuse_unless((status, len(rest)) in ((0, 0), (1, 3), (2, 1), (3, 0)), "Shape")
    if status == 1:
        end, code, output = number(rest[0]), number(rest[1]), rest[2]
        refuse_unless(type(output) is str and len(output.encode()) <= 4096, "Shape")
        refuse_unless(end <= 4 and (1 <= code <= 255 if end in (1, 2) else code == 0), "Shape")
    return identity, status, rest

def decode_notice(data):
    author, revoked, time, signature = items(cbor.decode(data, 192, 2), 4)
    signed = cbor.encode(["tombolo-revoke-1", octets(author, 32), octets(revoked, 32), number(time, 64)])
    refuse_unless(verify(author, signed, octets(signature, 64)), "signature")
    return author, revoked, time, blake3(signed)[:8]

def notice_of_text(text):
    refuse_unless(text.startswith("tombolo-revoke1:"), "Shape")
    return unpadded(base64.urlsafe_b64decode, text.split(":", 1)[1], 4)

def unpadded(decode, text, unit):
    """Of base64url in units of 4 or base32 of 8 characters; bits that belong to no byte are zero."""
    data = decode(text + "=" * (-len(text) % unit))
    again = base64.urlsafe_b64encode(data) if unit == 4 else base64.b32encode(data)
    refuse_unless(again.decode().rstrip("=") == text, "Padding")
    return data

def alarm_id(kind, node, episode, app):
    """src/watches/FORMAT.md"""
    return derive("tombolo 1 alarm", bytes([kind]) + node + episode.to_bytes(8, "big") + app.encode(), 8)

def read_alarms(data):
    """The alarms of a document; what is not valid is left out."""
    def is_alarm(alarm):
        if type(alarm) is not list or len(alarm) not in (7, 8):
            return False
        kind, node, name, episode, raised, cleared, figure, app = (alarm + [""])[:8]
        numbers = [kind, episode, raised, figure] + ([] if cleared is None else [cleared])
        texts = ((name, 32), (app, 64))
        return (all(type(n) is int and n >= 0 for n in numbers) and 1 <= kind <= 7
                and type(node) is bytes and len(node) == 16
                and all(type(text) is str and len(text.encode()) <= most for text, most in texts))
    return [alarm for alarm in cbor.decode(data).get("alarms", [])[:64] if is_alarm(alarm)]

def read_ends(data):
    """{name hash: (since, last)}; what is not valid is left out."""
    ends = [end for end in cbor.decode(data).get("ends", [])[:2000] if type(end) is list and len(end) >= 3]
    return {name: (since, last) for name, since, last, *_ in ends
            if type(name) is bytes and len(name) == 8 and type(since) is type(last) is int
            and 0 <= since < 1 << 53 and 0 <= last < 1 << 53}
