"""Commands in README and docs name what is there: every `chaos-spike` command, option and `make` target, and every link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from resilience.cli.main import app
from resilience.cli.scenarios import SUITE, scenario_names

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)
NOT_OURS = {"proxy"}
"""Commands that take their options from elsewhere: toxiproxy-server's flags have a test of their own."""


def page_name(path: Path) -> str:
    """Path from the root."""
    return path.relative_to(ROOT).as_posix()


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command of ours in fenced blocks and in `code`, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    spans = re.findall(r"`([^`\n]+)`", joined)
    for block in re.findall(r"```[a-z]*\n(.*?)```", joined, flags=re.DOTALL):
        spans += block.splitlines()
    for span in spans:
        found = re.match(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?chaos-spike((?: .*)?)$", span.strip())
        if found:
            yield re.sub(r"\s#.*|[|;&<>].*", "", found[1]).split()


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words mean, and the options that they give it."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    known = {option for parameter in command.params for option in parameter.opts}
    while rest and rest[0].startswith("--") and hasattr(command, "commands"):
        assert rest[0].partition("=")[0] in known, rest[0]
        takes_value = any(rest[0] in p.opts and not getattr(p, "is_flag", False) for p in command.params)
        rest = rest[2 if takes_value else 1 :]
    while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        assert rest[0] in command.commands, f"there is no command {rest[0]!r} in {' '.join(words)!r}"
        command = command.commands[rest.pop(0)]
    return command, [word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)]


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_docs_name_commands_and_options_that_are_there(path: Path) -> None:
    """A renamed command or option must not live on in the text that explains it."""
    for words in commands(path.read_text(encoding="utf-8")):
        command, options = resolve(words)
        if command.name in NOT_OURS:
            continue
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        unknown = [option for option in options if option not in known]
        assert not unknown, f"chaos-spike {' '.join(words)}: {command.name} has no {unknown}"


def test_docs_are_read_at_all() -> None:
    """A pattern that finds nothing would let everything pass."""
    found = [words for path in PAGES for words in commands(path.read_text(encoding="utf-8"))]
    assert len(found) > 25
    assert {words[0] for words in found if words} >= {
        "run",
        "judge",
        "plan",
        "lab",
        "history",
        "verify-trace",
        "undo",
    }


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_docs_link_to_files_that_are_there(path: Path) -> None:
    """Relative links, from where the page stands."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{page_name(path)} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_docs_name_make_targets_and_plans_that_are_there(path: Path) -> None:
    """`make TARGET`, and the built-in plans that `run` is given."""
    text = path.read_text(encoding="utf-8")
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    for target in re.findall(r"(?:^\$ |`)(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]+)", text, flags=re.MULTILINE):
        assert target in targets, f"{page_name(path)}: make {target}"
    plans = {*scenario_names(), SUITE}
    for words in commands(text):
        if words[:1] == ["run"]:
            named = [word for word in words[1:2] if re.fullmatch(r"[a-z][a-z-]+", word)]
            assert set(named) <= plans, f"{page_name(path)}: chaos-spike {' '.join(words)}"
