"""The documents are tests: what they name exists, and what exists is named.

Their programs are run by ``test_docs_programs.py``.
"""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import generated_pages
import pytest
from documents import (
    CONTRIBUTING,
    DOCUMENTS,
    LAYERS,
    PAGES,
    README,
    ROOT,
    SITE,
    blocks,
    codes,
    rows,
)
from generated_pages import all_commands

import wsgi_sessions
from wsgi_sessions import ConfigurationError, open_backend
from wsgi_sessions.cli import main
from wsgi_sessions.core.events import EventName, Events
from wsgi_sessions.database.connect import connect_sql, parse_sql_url
from wsgi_sessions.metrics.shipped import text_of
from wsgi_sessions.stack.config import SETTINGS

IN_COMMON = {"--url", "--app", "--json"}
DEMO = "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/wsgi-sessions demo"
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
PACKAGE = Path(wsgi_sessions.__file__).parent
SOURCES = [path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))]


# -- set-up ----------------------------------------------------------------------------------------


def test_both_commands_are_the_ones_that_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for name, command in {"DEMO": DEMO, "TESTS": TESTS}.items():
        assert f"\n    {command}\n" in README
        assert f'\n{name}="{command}"\n' in script
        assert f'"${name}"' in script, "defined, but not run"
    assert f"\n    {TESTS}\n" in CONTRIBUTING


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_class_that_is_named_exists(document: str) -> None:
    source = "\n".join((*SOURCES, text_of("alerts")))
    for code in codes(DOCUMENTS[document]):
        for name in re.findall(r"\b[A-Z][a-z]+[A-Z][A-Za-z]+\b", code):
            assert re.search(rf"\b{name}\b", source), name


# -- settings, commands, stores --------------------------------------------------------------------


@pytest.mark.parametrize(
    "made", generated_pages.made(), ids=lambda made: f"{made.page}-{made.part}"
)
def test_what_the_code_generates_is_kept(made: generated_pages.Made) -> None:
    assert made.kept() == made.make(), f"run {generated_pages.COMMAND}"


def test_every_setting_has_a_section() -> None:
    sections = re.findall(r"^### (.*)$", PAGES["reference/settings"], re.MULTILINE)
    assert sorted(map(codes, sections)) == sorted([*d.variables()] for d in SETTINGS.values())


def test_every_setting_that_is_named_exists() -> None:
    known = {name for declared in SETTINGS.values() for name in declared.variables()}
    for text in [*DOCUMENTS.values(), (ROOT / "CHANGELOG.md").read_text(), *SOURCES]:
        # Not what only begins a name, such as the prefix that they share.
        assert set(re.findall(r"\bWSGI_SESSIONS_[A-Z_]*[A-Z](?![A-Z_{])", text)) <= known


def test_a_worker_has_as_many_connections_as_is_said() -> None:
    pool: Any = connect_sql(parse_sql_url("postgresql://host/app"), 1.0, create="nothing").pool
    assert f"at most {pool.size() + pool._max_overflow} connections" in SITE
    assert f"keeps {pool.size()} of them open" in " ".join(SITE.split())


def test_every_command_has_a_section_with_its_options() -> None:
    page = PAGES["reference/commands"]
    parts = re.split(r"^## `wsgi-sessions (.*)`$", page, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert sections.keys() == dict(all_commands(main)).keys()
    for name, command in all_commands(main):
        named = set(re.findall(r"(?<=`)--[a-z-]+", sections[name]))
        assert named == options_of(command), name
    assert options_of(main) == {"--version"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_options_that_are_named_exist(document: str) -> None:
    known = dict(all_commands(main))
    for line in re.findall(
        r"\bwsgi-sessions (.*?)(?:`|&&|\||$)", DOCUMENTS[document], re.MULTILINE
    ):
        words = re.match(r"(?:[a-z][a-z-]*(?: |$))*", line)
        assert words is not None
        found = [name for name in known if f"{words[0].strip()} ".startswith(f"{name} ")]
        if words[0] and not any(name.startswith(words[0].strip()) for name in known):
            assert found, line
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", line):
            assert option in {*options_of(main), "--help"} | set(
                *(options_of(known[name]) for name in found)
            ), line


def test_events_that_are_named_exist() -> None:
    for text in DOCUMENTS.values():
        named = set(re.findall(r"\b[Ee]vent `([^`]+)`", text))
        assert named <= {*get_args(EventName)}


def test_common_options_of_the_commands_are_documented() -> None:
    (sentence,) = re.findall(r"All but ([^.]*) take `--url`, `--app` and `--json`", SITE)
    exceptions = set(codes(sentence))
    for name, command in all_commands(main):
        has = options_of(command) & IN_COMMON
        assert has == (IN_COMMON if name not in exceptions else has), name
        assert name not in exceptions or has != IN_COMMON, name


def options_of(command: click.Command) -> set[str]:
    """All but --help, and no arguments."""
    options = (given for given in command.params if isinstance(given, click.Option))
    return {name for option in options for name in option.opts}


def test_the_table_of_stores_is_complete(tmp_path: Path) -> None:
    """Every scheme is there, and every example is accepted."""
    with pytest.raises(ConfigurationError) as error:
        open_backend("nonsense://")
    urls = [codes(url)[0] for url, *_ in rows("`WSGI_SESSIONS_URL`")]
    assert {url.partition("://")[0] for url in urls} == set(
        re.findall(r"([a-z+]+)://", str(error.value))
    )
    certificate = tmp_path / "redis.pem"
    certificate.touch()
    for url in urls:
        here = re.sub(r"=/.*\.pem$", f"={certificate}", url)
        try:
            open_backend(here.replace("/var/lib", str(tmp_path))).close()
        except ConfigurationError as missing:
            assert "pip install PyMySQL" in str(missing)  # noqa: PT017 - the one that may be absent


# -- what is in the log ----------------------------------------------------------------------------


def test_the_table_of_events_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    documented = {codes(name)[0]: level for name, level, _ in rows("event")}
    caplog.set_level("DEBUG")
    for name in get_args(EventName):
        Events().emit(name, "0123456789")
    logged = {record.getMessage().split()[1]: record.levelname for record in caplog.records}
    assert documented == logged
    assert "session created session=0123456789" in caplog.messages


@cache
def texts_of_the_code() -> list[str]:
    return [
        node.value
        for source in SOURCES
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("line", [codes(line)[0] for line, _ in rows("other lines")])
def test_log_lines_are_written_somewhere(line: str) -> None:
    pattern = ".*".join(map(re.escape, line.split(" … ")))
    assert any(re.search(pattern, text) for text in texts_of_the_code())


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    running = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    linked = [link for link in re.findall(r"\]\(([^)#]+)", running) if "://" not in link]
    named = [
        code for code in codes(text) if re.match(r"(wsgi_sessions|tests|benchmarks|\.ci)/", code)
    ]
    for link in linked:
        assert (ROOT / document).parent.joinpath(link).exists(), link
    for name in named:
        assert "NAME" in name or (ROOT / name).exists(), name


def test_the_site_is_built_by_ci_without_warnings() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^\.venv/bin/sphinx-build -q -W --keep-going -n docs ", script, re.MULTILINE)


def told() -> list[str]:
    """The pages that are written: no index, and none of docstrings, each of which says its own."""
    return [
        name
        for name in PAGES
        if not name.endswith("index") and not name.startswith("reference/api/")
    ]


@pytest.mark.parametrize("name", told())
def test_a_page_begins_with_what_one_gets_and_ends_with_what_is_not_promised(name: str) -> None:
    if "{include}" in PAGES[name].partition("\n")[0]:
        return
    _, first, *_ = PAGES[name].split("\n\n", 2)
    assert re.match(r"[A-Z`]", first), "a sentence says what one gets"
    *_, last = re.findall(r"^## (.*)$", PAGES[name], re.MULTILINE)
    assert last.lower().endswith("not promised")


def test_every_page_is_in_a_table_of_contents() -> None:
    """Each list of pages is in the index of its folder; the last one is of the site."""
    listed = set()
    for name, text in PAGES.items():
        for block in re.findall(r"^```{toctree}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            pages = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {name.rpartition("/")[0] + "/" + page for page in pages}
    assert {page.lstrip("/") for page in listed} == PAGES.keys() - {"index"}


def test_the_picture_of_the_layers_is_complete() -> None:
    picture = blocks("", LAYERS)[0]
    for path in PACKAGE.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert re.search(rf"(?<!\w){path.stem}(?!\w)", picture), path.stem


def test_no_file_speaks_of_the_machine_that_it_was_written_on() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0")[:-1]]
    if listed.returncode:  # no clone, as where a release was unpacked
        tests = (ROOT / "tests").rglob("*.py")
        paths = [*ROOT.glob("*.md"), *PACKAGE.rglob("*.py"), *tests]
    homes = re.compile(rf"(?<!\w)(?:/root|/work|/Users|{re.escape(str(ROOT))})/")
    for path in filter(Path.is_file, paths):
        if path.suffix == ".png":
            continue
        assert not homes.search(path.read_text("utf-8")), path


@pytest.mark.parametrize(
    ("question", "answer"),
    [(question, answer) for question, answer, *_ in rows("you look for", LAYERS)],
)
def test_the_table_of_places_names_code_that_is_there(question: str, answer: str) -> None:
    """Each class stands in the file that is named after it."""
    for name, path in re.findall(r"`([A-Z]\w+)` in `(wsgi_sessions/[\w/]+\.py)`", answer):
        assert f"class {name}" in (ROOT / path).read_text(), question


@pytest.mark.parametrize(
    ("thread", "path"),
    [(codes(name)[0], codes(path)[0]) for name, path, _ in rows("thread", LAYERS)],
)
def test_the_table_of_threads_names_the_module_that_starts_each(thread: str, path: str) -> None:
    text = (ROOT / path).read_text()
    assert f'"{thread}"' in text or f'"{thread.partition(" ")[2]}"' in text


def test_every_thread_is_in_the_table() -> None:
    named = {codes(name)[0] for name, *_ in rows("thread", LAYERS)}
    for source in SOURCES:
        for name in re.findall(
            r'(?:name=|super\(\).__init__\(name=)"(wsgi_sessions[^"]*)"', source
        ):
            assert name in named | {"wsgi_sessions reader under test"}
