"""Session ids and their signatures."""

from __future__ import annotations

import hashlib
import string
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.identity import (
    MIN_SECRET_BYTES,
    SALT,
    IdSigner,
    Verified,
    new_id,
    new_secret,
    short_key,
    store_key,
)

OLD, NEW = "old-secret-" + "o" * 32, "new-secret-" + "n" * 32
BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"

ids = st.binary(min_size=30, max_size=30).map(lambda raw: urlsafe_b64encode(raw).decode())


def signed_by_itsdangerous(text: str, secret: str = NEW, salt: bytes = SALT) -> str:
    signer = Signer(secret, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    return signer.sign(text).decode()


def test_ids_have_240_bits_and_differ() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(session_id) for session_id in made} == {40}
    assert set("".join(made)) <= set(BASE64)


def test_the_store_key_is_the_sha256_of_the_id() -> None:
    session_id = new_id()
    assert store_key(session_id) == hashlib.sha256(session_id.encode()).hexdigest()
    assert session_id not in store_key(session_id)


def test_a_short_key_finds_a_session_and_opens_none() -> None:
    key = store_key(new_id())
    assert key.startswith(short_key(key))
    assert len(short_key(key)) == 10


def test_a_new_secret_is_accepted() -> None:
    IdSigner([new_secret(), new_secret()])


@given(ids)
def test_a_signed_id_verifies(session_id: str) -> None:
    signer = IdSigner([NEW])
    assert signer.verify(signer.sign(session_id)) == session_id
    assert signer.examine(signer.sign(session_id)) == Verified(session_id, is_current=True)


@given(ids)
def test_signatures_are_those_of_itsdangerous(session_id: str) -> None:
    assert IdSigner([NEW]).sign(session_id) == signed_by_itsdangerous(session_id)


@pytest.mark.parametrize("position", range(84))
def test_each_flipped_bit_is_refused(position: int) -> None:
    signer = IdSigner([OLD, NEW])
    value = signer.sign(new_id())
    for bit in range(8):
        flipped = chr(ord(value[position]) ^ 1 << bit)
        assert signer.verify(value[:position] + flipped + value[position + 1 :]) is None


@given(ids)
def test_other_spellings_of_a_signature_are_refused(session_id: str) -> None:
    """43 base64 characters hold 258 bits: four last characters decode to one signature."""
    signer = IdSigner([NEW])
    value = signer.sign(session_id)
    last = BASE64.index(value[-1])
    spellings = [value[:-1] + BASE64[last ^ other] for other in (1, 2, 3)]
    spellings += [value + "=", value + "==", value.replace("-", "+").replace("_", "/") + "="]
    lenient = Signer(NEW, salt=SALT, key_derivation="hmac", digest_method=hashlib.sha256)
    assert lenient.validate(spellings[0]), "this is no other spelling"
    assert [signer.verify(spelling) for spelling in spellings] == [None] * len(spellings)


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_refused_without_an_error(text: str) -> None:
    assert IdSigner([NEW]).verify(text) is None


@given(st.text(st.characters(min_codepoint=0x80), min_size=1, max_size=1), st.integers(0, 83))
def test_a_character_beyond_ascii_is_refused_without_an_error(other: str, position: int) -> None:
    signer = IdSigner([NEW])
    value = signer.sign("A" * 40)
    assert signer.verify(value[:position] + other + value[position + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "../../etc/passwd",
        "*",
        "{}",
        "%00",
        "\n",
        "A" * 39 + "\n",
        "A" * 40 + "\n",
        "",
        "A",
        "A" * 39,
        "A" * 41,
        "A" * 4096,
        "A" * 39 + ".",
        "A" * 39 + "/",
        "A" * 39 + "=",
    ],
)
def test_a_good_signature_of_a_text_that_is_not_an_id_is_refused(text: str) -> None:
    assert IdSigner([NEW]).verify(signed_by_itsdangerous(text)) is None


@pytest.mark.parametrize("value", ["", ".", "A" * 40, "A" * 40 + ".", "." * 84, "A" * 84, "a.b"])
def test_incomplete_urls_are_refused(value: str) -> None:
    assert IdSigner([NEW]).verify(value) is None


def test_another_salt_is_refused() -> None:
    assert IdSigner([NEW]).verify(signed_by_itsdangerous(new_id(), salt=b"other")) is None


def test_a_value_too_long_costs_no_hmac(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = IdSigner([NEW])
    value = signer.sign(new_id())

    def refuse(_self: object, _text: str) -> str:
        raise AssertionError("an HMAC was computed")

    monkeypatch.setattr("wsgi_sessions.identity._CanonicalSigner.signature", refuse)
    assert signer.verify(value + "A" * 65536) is None
    assert signer.verify(value[:-1]) is None
    with pytest.raises(AssertionError, match="HMAC"):
        signer.verify(value)


def test_rotation_the_last_secret_signs_and_all_verify() -> None:
    session_id = new_id()
    before, during, after = IdSigner([OLD]), IdSigner([OLD, NEW]), IdSigner([NEW])
    old_value = before.sign(session_id)
    assert during.examine(old_value) == Verified(session_id, is_current=False)
    new_value = during.sign(session_id)
    assert new_value == after.sign(session_id)
    assert during.examine(new_value) == Verified(session_id, is_current=True)
    assert after.verify(old_value) is None, "a retired secret still verifies"


def test_secrets_in_the_wrong_order_sign_with_the_old_one() -> None:
    """What CVE-2025-47278 did: it shows as values that want to be signed again."""
    value = IdSigner([NEW, OLD]).sign(new_id())
    found = IdSigner([OLD, NEW]).examine(value)
    assert found is not None
    assert not found.is_current


@pytest.mark.parametrize(
    ("secrets", "says"),
    [
        ([], "`secret_keys`"),
        ([""], "shorter than 32"),
        (["hunter2" * 4], "shorter than 32"),
        ([NEW, "hunter2"], "shorter than 32"),
        ([b"hunter2"], "shorter than 32"),
        ([NEW, OLD, NEW], "twice"),
        ([NEW, NEW.encode()], "twice"),
        (["hunter2" * 9 + "\udcff"], "not valid text"),
    ],
)
def test_a_bad_secret_is_refused_and_not_shown(secrets: list[str | bytes], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        IdSigner(secrets)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_length_of_a_secret_is_counted_in_bytes() -> None:
    IdSigner(["é" * (MIN_SECRET_BYTES // 2)])
    IdSigner([b"\xff" * MIN_SECRET_BYTES])
