"""The page of commands: every flag, its variable, its default and what it is for.

Names and defaults are the command line's own. What a flag of the two servers means is the docstring
under its field of the settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import click

from pannier.cli.commands import COMMANDS, pannier
from pannier.server import settings as sidecar_settings
from pannier_operator import settings as operator_settings
from pannier_operator.main import operator_command
from reference.markdown import anchor, code, field_docstrings, page, plain, sentence, table

SERVERS: Final = {
    "sidecar": (sidecar_settings, "SidecarSettings"),
    "operator": (operator_settings, "OperatorSettings"),
}
"""Command -> the module and the class that describe its settings."""

TURNED_OFF: Final = {"no_fast_lane": "fast_lane"}
"""Flags that turn a setting off."""

CLIENTS: Final = ("get", "put", "delete", "list", "count", "export", "import")
"""Commands that ask a sidecar, and share the flags that say which."""

DURATIONS: Final = {"duration": "DURATION", "pause": "DURATION or 0"}
WHERE: Final = "Which sidecar is asked"
ABOUT: Final = (
    "A DURATION is whole numbers with `ms`, `s`, `m` or `h`, such as `500ms` or `1m30s`. A SIZE is "
    "bytes, or a number with `Ki`, `Mi`, `Gi`, `k`, `M` or `G`, such as `64Mi`. A flag wins over "
    "its variable. A flag that may be repeated is, as a variable, values split at commas or "
    "spaces. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 unreachable."
)


def flags_page() -> str:
    """The page."""
    commands = {name: command(name) for name in COMMANDS}
    contents = "".join(
        f"- [`pannier {name}`]({anchor(f'pannier {name}')}): {line}\n"
        for name, (_, line) in COMMANDS.items()
    )
    shared = shared_options([commands[name] for name in CLIENTS])
    parts = [
        ABOUT,
        contents,
    ]
    for name, each in commands.items():
        parts += of_command(name, each, frozenset(shared) if name in CLIENTS else frozenset())
    one = options(commands[CLIENTS[0]])
    parts += [
        f"## {WHERE}",
        f"The flags that {', '.join(CLIENTS[:-1])} and {CLIENTS[-1]} share.",
        table(("flag", "default", "meaning"), [row(each) for each in one if key(each) in shared]),
    ]
    return page("Commands and flags", *parts)


def command(name: str) -> click.Command:
    if name == "operator":
        return operator_command  # pannier's own only hands over to it
    found = pannier.get_command(click.Context(pannier), name)
    assert found is not None
    return found


def options(of: click.Command) -> list[click.Option]:
    return [each for each in of.params if isinstance(each, click.Option)]


def key(option: click.Option) -> tuple[str, ...]:
    return (*option.opts, option.help or "", str(option.default))


def shared_options(commands: list[click.Command]) -> set[tuple[str, ...]]:
    """The flags that are the same in all of them, but for `--json`."""
    every = [{key(each) for each in options(of)} for of in commands]
    return {each for each in set.intersection(*every) if each[0] != "--json"}


def of_command(name: str, of: click.Command, shared: frozenset[tuple[str, ...]]) -> list[str]:
    """The section of one command."""
    usage = " ".join(of.collect_usage_pieces(click.Context(of, info_name=name)))
    parts = [f"## pannier {name}", f"`pannier {name} {usage}`"]
    parts += [plain(each) for each in (of.help or "").replace("\b", "").split("\n\n")]
    own = [each for each in options(of) if key(each) not in shared]
    if name in SERVERS:
        described = settings_of(name, own)
        rows = [row(each, described, variable=True) for each in own]
        parts.append(table(("flag", "variable", "default", "meaning"), rows))
    else:
        parts.append(table(("flag", "default", "meaning"), [row(each) for each in own]))
    if shared:
        parts.append(f"And those that say [which sidecar is asked]({anchor(WHERE)}).")
    return parts


def settings_of(name: str, own: list[click.Option]) -> Mapping[str, str]:
    """What each setting means, by the name of its flag's parameter."""
    module, owner = SERVERS[name]
    fields = field_docstrings(module, owner)
    flags = {each.name or "" for each in own}
    left_out = fields.keys() - {TURNED_OFF.get(each, each) for each in flags}
    assert not left_out, f"{owner} has settings without a flag: {left_out}"
    return {field: as_flags_say(text, fields) for field, text in fields.items()}


def as_flags_say(text: str, fields: Mapping[str, str]) -> str:
    """A setting's docstring for one who writes flags: other settings by their flags, durations in
    any unit, None as what is left out."""
    for field in fields:
        text = text.replace(f"`{field}`", f"`--{field.replace('_', '-')}`")
    text = re.sub(r"^Seconds ", "The time ", text)
    text = re.sub(r"(^|\. )None\b", r"\1Left out", text)
    return re.sub(r"; (?:None|none):", "; left out:", text)


def row(
    option: click.Option, described: Mapping[str, str] | None = None, *, variable: bool = False
) -> list[str]:
    """One flag's line."""
    meaning = (described or {}).get(option.name or "") or sentence(help_of(option))
    assert meaning, f"{option.opts} has no help"
    flag = ", ".join(code(each) for each in option.opts)
    if not option.is_flag:
        flag += f" {value_of(option)}"
    cells = [flag, default_of(option), meaning]
    if variable:
        cells.insert(1, code(option.envvar or ""))
    return cells


DEFAULT_IN_HELP: Final = re.compile(r"\s*\[default: (.*)\]")


def help_of(option: click.Option) -> str:
    return DEFAULT_IN_HELP.sub("", option.help or "")


def value_of(option: click.Option) -> str:
    """What the flag takes."""
    kind: Any = option.type
    if isinstance(kind, click.Choice):
        *most, last = kind.choices
        return f"{', '.join(map(code, most))} or {code(last)}"
    if option.metavar:
        return option.metavar
    called = getattr(getattr(kind, "func", None), "__name__", "")
    names = {**DURATIONS, "size": "SIZE"}
    return names.get(called) or {"integer range": "NUMBER"}.get(kind.name, kind.name.upper())


def default_of(option: click.Option) -> str:
    """The default as the help shows it."""
    in_help = DEFAULT_IN_HELP.search(option.help or "")
    if in_help:
        return code(in_help[1])
    if isinstance(option.show_default, str):
        return option.show_default if callable(option.default) else code(option.show_default)
    if option.is_flag or option.multiple or callable(option.default):
        return ""
    return code(option.default) if isinstance(option.default, (str, int)) else path_of(option)


def path_of(option: click.Option) -> str:
    """The default of a file; nothing where there is none."""
    return code(option.default) if option.show_default is True and option.default else ""
