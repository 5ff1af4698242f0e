"""Secrets at rest: a seal opens only for its owner, with an existing key, and if it is unchanged."""

from __future__ import annotations

import pytest

from runtime.errors import Reason
from runtime.seals import Sealed, SealError, Seals, new_key
from runtime.settings import Secret, SettingsError
from schemas.partners import PartnerSettings

OLD, NEW = Secret(new_key()), Secret(new_key())


def test_a_seal_opens_while_its_key_exists() -> None:
    sealed = Seals([OLD]).seal(b"secret", "acme")
    assert b"secret" not in sealed.data
    assert Seals([NEW, OLD]).open(sealed, "acme") == b"secret"
    assert Seals([NEW, OLD]).seal(b"secret", "acme").key_id == Seals([NEW]).newest


def test_the_same_text_is_never_sealed_the_same_way() -> None:
    seals = Seals([NEW])
    assert len({seals.seal(b"secret", "acme").data for _ in range(100)}) == 100


def test_nothing_is_sealed_without_a_key() -> None:
    with pytest.raises(SealError) as failed:
        Seals([]).seal(b"secret", "acme")
    assert failed.value.reason == Reason.SEAL_KEYS_MISSING


SEALED = Seals([OLD]).seal(b"secret", "acme")


@pytest.mark.parametrize(
    ("seals", "sealed", "owner", "reason"),
    [
        (Seals([]), SEALED, "acme", Reason.SEAL_KEYS_MISSING),
        (Seals([NEW]), SEALED, "acme", Reason.SEAL_UNREADABLE),
        (Seals([OLD]), SEALED, "other", Reason.SEAL_UNREADABLE),
        (Seals([OLD]), Sealed(SEALED.key_id, SEALED.data[:-1] + bytes([SEALED.data[-1] ^ 1])), "acme", Reason.SEAL_UNREADABLE),
        (Seals([OLD]), Sealed(SEALED.key_id, SEALED.data[:10]), "acme", Reason.SEAL_UNREADABLE),
        (Seals([OLD]), Sealed(SEALED.key_id, b""), "acme", Reason.SEAL_UNREADABLE),
    ],
)
def test_a_seal_opens_only_for_its_owner(seals: Seals, sealed: Sealed, owner: str, reason: Reason) -> None:
    with pytest.raises(SealError) as failed:
        seals.open(sealed, owner)
    assert failed.value.reason == reason
    assert "secret" not in str(failed.value).replace("SECRET_KEYS", "")


WRONG = {
    "short": "short",
    "cut": new_key()[:-4],
    "long": new_key() + "AAAA",
    "second": f"{new_key()},nonsense",
    "empty": "=" * 44,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_key_of_another_length_is_refused_at_the_start_and_not_quoted(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        PartnerSettings.load({"SECRET_KEYS": text})
    assert "SECRET_KEYS" in str(refused.value)
    assert text.rpartition(",")[2] not in str(refused.value)
