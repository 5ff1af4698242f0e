"""
Secrets at rest: sealed by AES-256-GCM, under keys that are in the settings of our processes and in no database.

A seal is bound to its owner, so that one row's secrets cannot be put into another row. Keys are rotated like every other secret:
the newest one seals, and all of them open.
"""

import os
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AfterValidator

from runtime.errors import Failure, Reason
from runtime.settings import Secret, Secrets

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # required by AES-GCM (NIST SP 800-38D, section 8.2)


class SealError(Failure[Reason]):
    """A seal cannot be opened, or nothing can be sealed. Its reason is `seal_keys_missing` or `seal_unreadable`."""


class Sealed(NamedTuple):
    """Sealed bytes, and the public id of the key that opens them."""

    key_id: str
    data: bytes


def new_key() -> str:
    """Return a fresh key as SECRET_KEYS takes it."""
    return b64encode(os.urandom(KEY_BYTES)).decode()


class Seals:
    """Seals and opens under these keys, the newest first; without any it does neither."""

    def __init__(self, keys: Sequence[Secret]) -> None:
        self._keys = {_id_of(key): AESGCM(_bytes_of(key.value)) for key in keys}

    @property
    def newest(self) -> str | None:
        """The public id of the key that seals; None without a key."""
        return next(iter(self._keys), None)

    def seal(self, data: bytes, owner: str) -> Sealed:
        """Seal bytes that belong to this owner. Raises SealError `seal_keys_missing`."""
        if self.newest is None:
            raise SealError(Reason.SEAL_KEYS_MISSING, "SECRET_KEYS is not set, and no secret is stored unsealed")
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.newest, nonce + self._keys[self.newest].encrypt(nonce, data, owner.encode()))

    def open(self, sealed: Sealed, owner: str) -> bytes:
        """Return the bytes that were sealed for this owner. Raises SealError."""
        if not self._keys:
            raise SealError(Reason.SEAL_KEYS_MISSING, f"it is sealed under the key {sealed.key_id}, and SECRET_KEYS is not set")
        if (key := self._keys.get(sealed.key_id)) is None:
            raise SealError(
                Reason.SEAL_UNREADABLE, f"it is sealed under the key {sealed.key_id}, which SECRET_KEYS does not hold"
            )
        nonce, data = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        try:
            return key.decrypt(nonce, data, owner.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError(Reason.SEAL_UNREADABLE, "it was changed, or it belongs to another owner") from error


def _bytes_of(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return b""


def _id_of(key: Secret) -> str:
    return sha256(_bytes_of(key.value)).hexdigest()[:8]


def _check(keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
    if wrong := [place for place, key in enumerate(keys, 1) if len(_bytes_of(key.value)) != KEY_BYTES]:
        which = f"of {len(keys)} keys, {', '.join(map(str, wrong))} " if len(keys) > 1 else ""
        raise ValueError(f"{which}is not {KEY_BYTES} bytes in base64, as `tallyhook secrets new --for seal` makes them")
    return keys


SealKeys = Annotated[Secrets, AfterValidator(_check)]
"""Comma-separated keys, the newest first."""
