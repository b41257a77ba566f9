"""The page that installs and upgrades says what there is to install."""

from __future__ import annotations

import configparser

from documents import PAGES, README, ROOT, codes, rows

from wsgi_sessions import __version__

PAGE = PAGES["howto/install"]


def extras() -> set[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return {*setup["options.extras_require"]}


def test_it_has_every_extra() -> None:
    assert {name for first, _ in rows("extra", PAGE) for name in codes(first)} == extras()


def test_the_readme_has_no_other_extra() -> None:
    (sentence,) = [part for part in README.split("\n\n") if part.startswith("The extras are")]
    assert {code for code in codes(sentence) if code.isalpha()} <= extras()


def test_it_names_the_wheel_of_this_release() -> None:
    assert f"wsgi_sessions-{__version__}-py3-none-any.whl" in PAGE


def test_the_changelog_has_this_release() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
