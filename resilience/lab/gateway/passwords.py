"""Password hashes: scrypt with its parameters and salt in the text, so that old hashes stay valid when costs change.

Format: `scrypt$LOG2_N$SALT_HEX$KEY_HEX`, with r = 8 and p = 1 (RFC 7914). The functions burn CPU for milliseconds and
release the interpreter lock meanwhile: call them in a thread, never on the event loop.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

_R = 8
_MAX_LOG2_N = 20


def _key(password: str, salt: bytes, log2_n: int) -> bytes:
    n = 1 << log2_n
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=_R, p=1, maxmem=256 * n * _R, dklen=32)


def hash_password(password: str, log2_n: int) -> str:
    """A new hash with a random salt; 2**log2_n is the cost."""
    salt = secrets.token_bytes(16)
    return f"scrypt${log2_n}${salt.hex()}${_key(password, salt, log2_n).hex()}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `password` is the one that `stored` was made from; False, too, for what is not such a hash."""
    try:
        scheme, log2_n, salt, key = stored.split("$")
        if scheme != "scrypt" or not 1 <= int(log2_n) <= _MAX_LOG2_N:
            return False
        return hmac.compare_digest(_key(password, bytes.fromhex(salt), int(log2_n)), bytes.fromhex(key))
    except ValueError:
        return False
