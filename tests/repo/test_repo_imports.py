"""The dependency rules of the house, held by a test: who may import whom, and what pure cores may not import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("faults", "resilience")

IMPURE = {
    "asyncio",
    "socket",
    "subprocess",
    "logging",
    "time",
    "threading",
    "multiprocessing",
    "selectors",
    "uvloop",
}
"""What a pure core does not import: clocks, sockets, processes, logs. `datetime` is allowed as a value type."""

PURE = (
    "faults/model.py",
    "faults/toxics/",
    "faults/proxy/store.py",
    "faults/proxy/wire/",
    "faults/proxy/wire.py",
    "faults/blast_radius.py",
    "faults/lease.py",
    "faults/redact.py",
    "resilience/plan/",
    "resilience/interpose/model.py",
    "resilience/interpose/reading.py",
    "resilience/interpose/refusing.py",
    "resilience/interpose/rewriting.py",
    "resilience/interpose/choosing.py",
    "resilience/interpose/proving.py",
    "resilience/interpose/planning.py",
    "resilience/load/schedule.py",
    "resilience/load/model.py",
    "resilience/load/requests.py",
    "resilience/load/sources.py",
    "resilience/load/fields.py",
    "resilience/load/noting.py",
    "resilience/load/figures.py",
    "resilience/load/socket_talk.py",
    "resilience/load/socket_frames.py",
    "resilience/load/close_codes.py",
    "resilience/load/template.py",
    "resilience/load/identity.py",
    "resilience/load/stimulus.py",
    "resilience/load/stimulus_actions.py",
    "resilience/load/threshold.py",
    "resilience/load/inbox.py",
    "resilience/load/cluster_clock.py",
    "resilience/metrics/",
    "resilience/breaker/",
    "resilience/analysis/",
    "resilience/history/",
    "resilience/run/judge.py",
    "resilience/run/abort.py",
    "resilience/run/ending.py",
    "resilience/run/streams.py",
    "resilience/run/faulting.py",
    "resilience/report/",
)
PURE_EXCEPT = (
    "resilience/breaker/observers/",  # edges: they listen and poll
    "resilience/plan/files.py",  # reads plans, overlays and data files
    "resilience/history/store.py",  # a file of SQLite
    "resilience/report/live.py",  # serves the page while a run goes on
)
JOINERS = ("resilience/run/", "resilience/cli/", "resilience/pytest_plugin")
"""The only places that join load, faults and checkers."""


def modules() -> Iterator[Path]:
    """Every module of the two packages."""
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """Path from the root, as the rules write it."""
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute here"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def is_pure(path: Path) -> bool:
    """Whether a module is held to the rule for pure cores."""
    name = name_of(path)
    return name.startswith(PURE) and not name.startswith(PURE_EXCEPT)


def test_faults_never_import_resilience() -> None:
    """The fault layer knows nothing of load or verdicts."""
    for path in (ROOT / "faults").rglob("*.py"):
        assert not [i for i in imports_of(path) if i.split(".")[0] == "resilience"], name_of(path)


@pytest.mark.parametrize("path", [p for p in modules() if is_pure(p)], ids=name_of)
def test_pure_core_imports_no_edge(path: Path) -> None:
    """A pure core imports no clock, socket, process or log, and no global randomness."""
    impure = {i.split(".")[0] for i in imports_of(path)} & IMPURE
    assert not impure
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            assert node.attr in ("Random", "SystemRandom"), (
                f"line {node.lineno}: the global generator is not seeded"
            )


@pytest.mark.parametrize("path", [p for p in modules() if is_pure(p) and "/plan/" in name_of(p)], ids=name_of)
def test_plan_reads_no_file_and_draws_in_no_edge(path: Path) -> None:
    """Plans are functions of texts: what they import of ours is pure, too, and only `files` opens anything."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {f.id if isinstance(f, ast.Name) else getattr(f, "attr", "") for f in called}
    assert not names & {"open", "read_text", "read_bytes", "write_text", "write_bytes", "getenv"}
    if path.name == "__init__.py":
        return  # the package's face offers `load_plan` beside the rest
    for name in imports_of(path):
        module = ROOT / f"{name.replace('.', '/')}.py"
        if name.split(".")[0] in PACKAGES and module.exists():
            assert is_pure(module), f"{name_of(path)} imports {name}"


def test_only_joiners_join_load_faults_and_checkers() -> None:
    """Load, faults and checkers meet in the interpreter, the command line and the pytest plugin, nowhere else."""
    for path in (ROOT / "resilience").rglob("*.py"):
        if name_of(path).startswith(JOINERS):
            continue
        used = imports_of(path)
        groups = {
            "load": any(i.startswith("resilience.load.engine") for i in used),
            "faults": any(i.startswith(("faults.session", "faults.nemesis")) for i in used),
            "checkers": any(i.startswith(("resilience.breaker.verify", "resilience.analysis")) for i in used),
        }
        assert sum(groups.values()) <= 1, f"{name_of(path)} joins {groups}"


def test_no_module_has_side_effects_at_import() -> None:
    """Nothing runs at import: modules hold definitions, constants and docstrings."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign)
    allowed += (
        (ast.AnnAssign, ast.If, ast.Try, ast.TypeAlias)
        if hasattr(ast, "TypeAlias")
        else (ast.AnnAssign, ast.If, ast.Try)
    )
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Expr):
                is_docstring = isinstance(node.value, ast.Constant)
                is_registration = name_of(path).startswith("resilience/cli/")
                assert is_docstring or is_registration, f"{name_of(path)}:{node.lineno} runs at import"
                continue
            assert isinstance(node, allowed), f"{name_of(path)}:{node.lineno} runs at import"


def test_files_are_of_readable_size() -> None:
    """A file near 400 lines wants to be two."""
    for path in modules():
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= 420, f"{name_of(path)} has {lines} lines"
