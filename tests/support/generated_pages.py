"""Pages of the site that the code generates: ``python tests/support/generated_pages.py``.

Settings come from their declarations, commands from click, the pages of the API from the tables of
public names. The text is kept, so that it can be read without building the site; the tests compare.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wsgi_sessions.cli import main as commands
from wsgi_sessions.stack.config_help import settings_as_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = "python tests/support/generated_pages.py"
END = "<!-- end of what is made -->\n"


class Made(NamedTuple):
    """What stands between two marks of a page."""

    page: str
    part: str
    make: Callable[[], str]

    def kept(self) -> str:
        """Return what the page has."""
        _, begin, rest = self._path.read_text("utf-8").partition(self._begin)
        made, end, _ = rest.partition(END)
        assert begin, f"{self.page} has no mark {self._begin}"
        assert end, f"{self.page} has no mark {END}"
        return made

    def write(self) -> None:
        """Put it into the page; a page that is not there begins with it."""
        self._path.parent.mkdir(exist_ok=True)
        text = self._path.read_text("utf-8") if self._path.exists() else self._begin + END
        head, _, rest = text.partition(self._begin)
        after = rest.partition(END)[2]
        self._path.write_text(head + self._begin + self.make() + END + after, "utf-8")

    @property
    def _begin(self) -> str:
        return f"<!-- {self.part}: made by {COMMAND} -->\n"

    @property
    def _path(self) -> Path:
        return DOCS / f"{self.page}.md"


# -- commands --------------------------------------------------------------------------------------


IN_COMMON = ("--app", "--url", "--json")


def table_of_commands() -> str:
    """Return the commands, one line each."""
    lines = ["| command | what it does |", "|---|---|"]
    for name, command in all_commands(commands):
        link = f"[`wsgi-sessions {name}`](#wsgi-sessions-{name.replace(' ', '-')})"
        lines.append(f"| {link} | {_plain(command.get_short_help_str(200))} |")
    return "\n".join([*lines, ""])


def commands_as_markdown() -> str:
    """Return a section for each command: its help, arguments and options."""
    return "\n".join(_command(name, command) for name, command in all_commands(commands))


def all_commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its name with that of its group."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", it) for inner, it in all_commands(command))
        else:
            yield name, command


def _command(name: str, command: click.Command) -> str:
    options = [each for each in command.params if isinstance(each, click.Option)]
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    common = [f"`{name}`" for each in options for name in each.opts if name in IN_COMMON]
    lines = [
        f"## `wsgi-sessions {name}`",
        *("", _flowing(inspect.cleandoc(command.help or ""))),
        *("", "    " + " ".join(["wsgi-sessions", name, "[OPTIONS]", *arguments]), ""),
        *(_option(each) for each in options if not {*each.opts} & {*IN_COMMON}),
        *([f"- {', '.join(common)}: as for all"] if common else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _argument(argument: click.Argument) -> str:
    """As click's own usage has it; its function for that changes with its releases."""
    name = (argument.metavar or argument.name or "").upper()
    shown = name if argument.required else f"[{name}]"
    return shown + ("..." if argument.nargs == -1 else "")


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option.type)}"
    default = option.show_default
    told = default if isinstance(default, str) else option.default if default else None
    about = [
        _plain(option.help or ""),
        f"Default: {_plain(str(told))}." if told is not None else "",
    ]
    return f"- `{' '.join(option.opts)}{value}`: {' '.join(filter(None, about))}"


def _kind(kind: Any) -> str:
    if isinstance(kind, click.Choice):
        return "|".join(kind.choices)
    return "N" if isinstance(kind, click.types.IntParamType) else kind.name.upper()


def _flowing(text: str) -> str:
    return "\n\n".join(_plain(" ".join(part.split())) for part in text.split("\n\n"))


def _plain(text: str) -> str:
    return re.sub(r"([*<>])", r"\\\1", text.replace("\x08", "").strip())


# -- the API ---------------------------------------------------------------------------------------


class Names(NamedTuple):
    """The public names of one table of the reference."""

    module: str
    title: str
    names: tuple[str, ...]

    @property
    def page(self) -> str:
        """The page that has what their docstrings say."""
        return "reference/api/" + re.sub(r"[^a-z]+", "-", self.title.lower())


def tables_of_names() -> list[Names]:
    """The tables of ``reference/api.md``."""
    text = (DOCS / "reference" / "api.md").read_text("utf-8")
    found, module = [], ""
    for part in re.split(r"^##", text, flags=re.MULTILINE)[1:]:
        title = part.splitlines()[0].lstrip("# ").strip("`")
        module = title if title.startswith("wsgi_sessions") else module
        names = tuple(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE))
        if names:
            found.append(Names(module, title.rpartition(".")[2], names))
    return found


def _autodoc(table: Names) -> str:
    title = f"`{table.module}`" if table.module != "wsgi_sessions" else table.title
    lines = [f"# {title}", "", "```{eval-rst}", f".. currentmodule:: {table.module}", ""]
    for name in table.names:
        lines += _directive(table.module, name)
    return "\n".join([*lines, "```", ""])


def _directive(module: str, name: str) -> list[str]:
    it = getattr(import_module(module), name)
    if inspect.isclass(it):
        kind = "exception" if issubclass(it, BaseException) else "class"
        return [f".. auto{kind}:: {name}", "   :members:", ""]
    return [f".. auto{'function' if callable(it) else 'data'}:: {name}", ""]


def made() -> list[Made]:
    """All that is generated."""
    api = [Made(table.page, "names", partial(_autodoc, table)) for table in tables_of_names()]
    return [
        Made("reference/settings", "settings", settings_as_markdown),
        Made("reference/commands", "table", table_of_commands),
        Made("reference/commands", "commands", commands_as_markdown),
        *api,
    ]


if __name__ == "__main__":
    for each in made():
        each.write()
