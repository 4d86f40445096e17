"""BLAKE3, X25519, AES-CCM and ChaCha20-Poly1305 as the pages use them."""
import hashlib

from blake3 import blake3 as hasher
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cbor import refuse_unless

P = 2**255 - 19
RAW = Encoding.Raw, PublicFormat.Raw

def blake3(data, key=None):
    return hasher(data, key=key).digest()

def derive(context, data, length=32):
    return hasher(data, derive_key_context=context).digest()[:length]

def public_of(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(*RAW)

def x_public(ed_public):
    """The X25519 key of an ed25519 key (RFC 7748, section 4.1)."""
    y = int.from_bytes(ed_public, "little") % 2**255
    return ((1 + y) * pow(1 - y, -1, P) % P).to_bytes(32, "little")

def x_secret(ed_seed):
    return hashlib.sha512(ed_seed).digest()[:32]

def x_public_of(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(*RAW)

def agree(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))

def tagged(cipher, nonce, data, about):
    """Opens what was sealed; refuses what was not sealed so."""
    try:
        return cipher.decrypt(nonce, data, about)
    except (InvalidTag, ValueError):
        refuse_unless(False, "tag")

def ccm_open(key, nonce, sealed, about):
    """AES-128-CCM with a tag of 8 bytes."""
    return tagged(AESCCM(key, tag_length=8), nonce, sealed, about)

def chacha(key, counter, data, about, seals):
    cipher, nonce = ChaCha20Poly1305(key), bytes(4) + counter.to_bytes(8, "little")
    return cipher.encrypt(nonce, data, about) if seals else tagged(cipher, nonce, data, about)
