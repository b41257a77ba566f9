"""The page for the night: each planted fault has its row, with the command and the remedy."""

from __future__ import annotations

import re

import pytest
from documents import PAGES, ROOT, codes, rows

from wsgi_sessions.endings import REASONS

PAGE = PAGES["howto/three-a-m"]
UNITS, STORES = "tests/unit/test_planted_faults.py", "tests/unit/test_doctor.py"
# What is planted: words of its row's symptom, command and remedy, and the test that plants it.
FAULTS = {
    "wrong password": (
        *("user name or password", "`wsgi-sessions check`", "WSGI_SESSIONS_URL"),
        *(UNITS, "test_a_wrong_password"),
    ),
    "maxmemory": (
        *("`check` says `maxmemory`", "wsgi-sessions list", "raise `maxmemory`"),
        *(UNITS, "test_a_redis_that_is_full"),
    ),
    "eviction": (
        *("sessions that are not old", "maxmemory-policy", "noeviction"),
        *(STORES, "test_an_eviction_policy"),
    ),
    "disk full": ("disk is full", "`df`", "free space", UNITS, "test_a_full_disk"),
    "inodes full": ("out of inodes", "`df -i`", "inodes", UNITS, "test_a_full_disk"),
    "foreign uid": (
        *("another user", "names both users", "run the workers as the owner"),
        *(STORES, "test_a_folder_of_another_user"),
    ),
    "two secrets": (
        *("every other request", "check --server URL", "WSGI_SESSIONS_SECRET_KEYS"),
        *(STORES, "test_workers_with_different_keys"),
    ),
    "a clock": (
        *("too early or too late", "check --server URL", "NTP"),
        *(UNITS, "test_a_server_whose_clock_is_ten_minutes_ahead"),
    ),
    "https is lost": (
        *("log-ins do not stay", "check --server https", "ProxyFix"),
        *(UNITS, "test_https_that_is_lost_on_the_way"),
    ),
    "https is made up": (
        *("log-ins do not stay", "check --server https", "X-Forwarded-Proto"),
        *(UNITS, "test_https_that_is_lost_on_the_way"),
    ),
    "900 KB": (
        *("slow", "--larger-than", "WSGI_SESSIONS_MAX_SIZE"),
        *(UNITS, "test_a_large_session"),
    ),
    "a key that conflicts": (
        *("changes that nobody made", "`conflict`", "`increment`, `append` or `exclusive`"),
        *(UNITS, "test_a_key_that_conflicts"),
    ),
    "logged out at 14:03": (
        *("logged out at 14:03", "explain --principal P --at 14:03", "by its reason"),
        *(UNITS, "test_logged_out_at_14_03"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_has_its_row_and_its_test(fault: str) -> None:
    symptom, look, remedy, path, test = FAULTS[fault]
    found = [
        row
        for row in rows("symptom", PAGE)
        if symptom in row[0] and look in row[1] and remedy in row[2]
    ]
    assert len(found) == 1, fault
    assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_each_reason_has_its_remedy() -> None:
    named = [codes(row[0]) for row in rows("reason", PAGE)]
    assert [words[0] for words in named if words] == sorted(REASONS, key=_order)


def _order(reason: str) -> int:
    return PAGE.index(f"| `{reason}` |")
