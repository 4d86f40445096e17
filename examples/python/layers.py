"""What an author signs: src/envelope/FORMAT.md, *What an author signs* and *Roots*."""
from collections import namedtuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import cbor

Head = namedtuple("Head", "kind owner name author sequence time audience_sequence root")
SNAPSHOT, MAP = 0, 1
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
WEAK = (0, 1, 2**255 - 20,  # the second coordinates of the points of small order
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826)

def is_strict(point):
    y = int.from_bytes(point, "little") % 2**255
    return y < 2**255 - 19 and y not in WEAK

def verify(public, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return is_strict(public) and is_strict(signature[:32])

def holds(head, signature):
    """Whether the head is one that its author may have signed, and did."""
    may = head.sequence > 0 and head.time < 1 << 48 and (head.kind == MAP or head.author == head.owner)
    return may and verify(head.author, cbor.encode(["tombolo-layer-1", *head]), signature)

def key_of_did(text):
    number = 0
    for letter in text.removeprefix("did:key:z"):
        number = number * 58 + BASE58.index(letter)
    cbor.refuse_unless(number >> 256 == 0xED01, "Identity")
    return (number % 2**256).to_bytes(32, "big")
