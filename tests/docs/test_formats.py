"""The page of formats says what the code writes."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from documents import PAGES, ROOT, codes, rows

from wsgi_sessions import IdSigner, __version__
from wsgi_sessions.core.record import envelope, envelopes
from wsgi_sessions.identity import SALT, new_id, store_key
from wsgi_sessions.stores.file import slots
from wsgi_sessions.stores.redis import records
from wsgi_sessions.stores.redis.records import Keys
from wsgi_sessions.stores.sql.schema import SCHEMA_VERSION, metadata

PAGE = PAGES["reference/formats"]
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")


def test_the_cookie() -> None:
    session_id = new_id()
    signed = IdSigner(["a-secret-of-the-tests-with-32-bytes"]).sign(session_id)
    about = re.search(r"(\d+) characters of base64url \((\d+) bits[^,]*, a dot, and (\d+)", PAGE)
    assert about is not None
    assert [int(number) for number in about.groups()] == [
        len(session_id),
        len(session_id) * 6,
        len(signed) - len(session_id) - 1,
    ]
    assert SALT.decode() in codes(PAGE)
    assert f"SHA-256 of the id in hex, {len(store_key(session_id))} characters" in PAGE


def test_the_payload_of_a_record() -> None:
    assert f"format (1 byte, now {envelope.FORMAT})" in PAGE
    places = [int(place) for place, _ in rows("place", PAGE)]
    assert places == [*range(len(msgspec.structs.fields(envelope.Envelope)))]


def test_files() -> None:
    assert f"`{slots.MAGIC.decode()}` and the format, now {slots.FORMAT};" in PAGE


def test_redis() -> None:
    keys: Any = Keys("session:")
    names = [keys.lock("k"), keys.record("k"), keys.versions, keys.refreshes, keys.quarantine]
    for name in names:
        begin = name.removeprefix("session:").partition("{")[0]
        assert not begin or any(code.startswith(begin.rstrip(":")) for code in codes(PAGE)), name


def test_sql() -> None:
    (sentence,) = re.findall(r"^Tables .*?\.$", PAGE, re.MULTILINE | re.DOTALL)
    named = {code if code[0] != "_" else f"wsgi_sessions{code}" for code in codes(sentence)}
    assert named == set(metadata.tables)
    assert f"version is now {SCHEMA_VERSION}" in sentence


def test_what_a_worker_keeps_in_memory() -> None:
    kept: Any = envelopes
    for text in (SECURITY, PAGES["explanation/security"]):
        assert f"up to {2 * kept._SESSIONS} recently used sessions" in text
        assert f"up to {kept._PAYLOAD_BYTES // 1024} KB" in text


def test_the_latest_upgrade_note_is_of_this_release_and_its_formats() -> None:
    *_, latest = rows("release", PAGE)
    assert latest[:5] == [
        __version__,
        str(envelope.FORMAT),
        str(slots.FORMAT),
        str(records.FORMAT & 0b111),  # beside the bits that mark a value as ours
        str(SCHEMA_VERSION),
    ]
