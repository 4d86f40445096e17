"""Ed25519 and X25519 as the pages use them, over the package `cryptography`."""
import hashlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cbor import refuse_unless

P = 2**255 - 19
# The y of the points of small order: 0, 1, -1, and the two of order 8.
WEAK = {0, 1, P - 1} | {int.from_bytes(bytes.fromhex(y), "little") for y in (
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")}


def is_usable(point):
    """Whether 32 bytes are in canonical form, and not of small order."""
    y = int.from_bytes(point, "little") & (1 << 255) - 1
    return len(point) == 32 and y < P and y not in WEAK


def public_of(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verify(public, message, signature):
    """Strict: neither key nor first half of the signature may be of small order or in another form."""
    if len(signature) != 64 or not is_usable(public) or not is_usable(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def x_public(ed_public):
    """The X25519 key of an ed25519 key (RFC 7748, section 4.1)."""
    y = int.from_bytes(ed_public, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, -1, P) % P).to_bytes(32, "little")


def x_secret(ed_seed):
    return hashlib.sha512(ed_seed).digest()[:32]


def x_public_of(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def agree(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def ccm_open(key, nonce, sealed, about):
    """AES-128-CCM with a tag of 8 bytes; refuses what was not sealed so."""
    try:
        return AESCCM(key, tag_length=8).decrypt(nonce, sealed, about)
    except (InvalidTag, ValueError):
        refuse_unless(False, "tag")


def chacha(key, counter, data, about, seals):
    nonce = bytes(4) + counter.to_bytes(8, "little")
    cipher = ChaCha20Poly1305(key)
    try:
        return cipher.encrypt(nonce, data, about) if seals else cipher.decrypt(nonce, data, about)
    except InvalidTag:
        refuse_unless(False, "tag")
