"""The fenced blocks of the documentation, and how each is run: a page is one shell session, in the order in which it is read.

The words behind a block's language say what it is; GitHub does not show them:

    file=NAME     written to that file, where a reader would
    run           commands; each must succeed, or the last one end with `exit=N`
    install       commands that install; the test of the wheel installs for real
    shown         what something prints: to be looked at
    skip=WORDS    not run, and why (words-joined-by-hyphens)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the words behind it, its text, and the line on which that begins."""

    language: str
    words: Mapping[str, str] = field(hash=False)
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found: list[Block] = []
    opened: tuple[str, int, list[str]] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if opened is None and line.startswith("```"):
            opened = line[3:].strip(), number + 1, []
        elif opened is not None and line.startswith("```"):
            head, begin, lines = opened
            language, *words = head.split() or [""]
            pairs = dict(word.partition("=")[::2] for word in words)
            found.append(Block(language, pairs, "\n".join(lines) + "\n", begin))
            opened = None
        elif opened is not None:
            opened[2].append(line)
    assert opened is None, f"{page}: a block is not closed"
    return found


def commands(text: str) -> Iterator[str]:
    """The commands of a console block: what stands behind a prompt, with its continuation lines."""
    for found in re.finditer(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE):
        yield re.sub(r"\s+# .*$", "", found[1].replace("\\\n", " "))


def script(page: Path, changes: Sequence[tuple[str, str]] = ()) -> str:
    """One shell script that does what a reader of the page does; `changes` are applied to it (other ports, say).

    Files are written before the first command: a page may show one after the command that names it. What was started in the
    background ends with the script.
    """
    parts = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for block in blocks(page):
        if "file" in block.words:
            name = block.words["file"]
            parts.append(f"mkdir -p {shlex.quote(str(Path(name).parent))}")
            parts.append(f"cat > {shlex.quote(name)} <<'END OF FILE'\n{block.text}END OF FILE")
    for block in blocks(page):
        if "run" in block.words:
            lines = list(commands(block.text))
            for place, command in enumerate(lines):
                wanted = block.words.get("exit", "0") if place == len(lines) - 1 else "0"
                where = f"{page.name}, line {block.line}, command {place + 1}"
                parts.append(f"echo {shlex.quote('== ' + command)}\n{command}")
                parts.append(
                    f'code=$?; [ "$code" -eq {wanted} ] || {{ echo "{where}: exit $code, not {wanted}"; exit 99; }}'
                )
    whole = "\n".join(parts) + "\n"
    for old, new in changes:
        whole = whole.replace(old, new)
    return whole
