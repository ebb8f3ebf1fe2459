"""The pytest plugin's front door: options, a marker, fixtures. Nothing of chaos-spike is imported until a test asks for it.

The packages of chaos-spike are called `faults` and `resilience`, and a repository may have folders of these names. So this module
has a name of its own; it looks before it imports, and where it meets somebody else's `resilience` it says so and steps aside.

    from chaos_spike_pytest import Spec, down, latency     # what tests need besides the fixtures
"""

from __future__ import annotations

import importlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_HOME = Path(__file__).resolve().parent
_PACKAGES = ("resilience", "faults")
_OFFERED = frozenset({
    "ChaosSetupError", "InvalidRun", "Spec", "Toxic", "assert_conforms", "bandwidth", "down", "latency", "limit_data",
    "reset_peer", "slicer", "slow_close", "timeout", "toxic",
})  # fmt: skip
_CHAOS = pytest.StashKey[Any]()


def __getattr__(name: str) -> Any:
    """What tests import from here lives in `resilience.pytest_plugin` and is fetched when asked for."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module("resilience.pytest_plugin"), name)
    except ImportError as error:
        raise AttributeError(f"{name}: {_stranger() or error}") from error


def _stranger(config: pytest.Config | None = None) -> str | None:
    """A sentence about a package of somebody else's that hides ours, or None."""
    for package in _PACKAGES:
        loaded = sys.modules.get(package)
        if loaded is not None and not _is_ours(getattr(loaded, "__file__", None)):
            return f"chaos-spike steps aside: {package!r} is {_place(loaded)}, not its own package"
        folders = [Path(entry or ".") for entry in sys.path]
        if config is not None:
            folders = [config.rootpath, config.rootpath / "src", *folders]
        for folder in folders:
            for found in (folder / package / "__init__.py", folder / f"{package}.py"):
                if found.is_file() and not _is_ours(found):
                    return f"chaos-spike steps aside: this project has its own {package!r} ({found})"
    return None


def _is_ours(file: str | Path | None) -> bool:
    return file is not None and _HOME in Path(file).resolve().parents


def _place(module: Any) -> str:
    return str(getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ["somebody's"]))))


def pytest_addoption(parser: pytest.Parser) -> None:
    """--chaos-report, --chaos-seed, --chaos-keep."""
    group = parser.getgroup("chaos-spike", "breaking things in tests (chaos-spike)")
    group.addoption(
        "--chaos-report",
        metavar="DIR",
        default=None,
        help="where failed chaos tests leave their record (default: .chaos-spike in the root directory)",
    )
    group.addoption(
        "--chaos-seed",
        metavar="N",
        type=int,
        default=None,
        help="seed of random toxics and loads (default: random, and told)",
    )
    group.addoption("--chaos-keep", action="store_true", help="chaos tests that pass leave their record, too")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line(
        "markers",
        "chaos(max_duration=60): a test with faults; none of them, and no load, lasts longer than so many seconds",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """One line where somebody else's package hides ours."""
    return _stranger(config)


def _options(config: pytest.Config) -> Any:
    seed = config.getoption("--chaos-seed")
    if seed is None:
        # One seed for all workers of one run, where there are several.
        shared = getattr(config, "workerinput", {}).get("testrunuid")
        seed = int(shared[:8], 16) if shared else secrets.randbits(31)
    report = config.getoption("--chaos-report")
    folder = Path(report) if report else config.rootpath / ".chaos-spike"
    options = importlib.import_module("resilience.pytest_plugin.session").ChaosOptions
    return options(seed=seed, report=folder, keep=config.getoption("--chaos-keep"))


@pytest.fixture(scope="session")
def chaos_allow() -> tuple[str, ...]:
    """What faults may touch beyond loopback: "host", "host:port", "10.1.0.0/16". Override it in a conftest."""
    return ()


@pytest.fixture
def chaos_target() -> Any:
    """The system under test: "lab", or a mapping like a plan's `external:`. Override it in a conftest."""
    return None


@pytest.fixture(scope="session")
def chaos_session(request: pytest.FixtureRequest, chaos_allow: tuple[str, ...]) -> Iterator[Any]:
    """What the chaos tests of this process share; everything in it starts when it is first needed."""
    aside = _stranger(request.config)
    if aside is not None:
        pytest.fail(aside, pytrace=False)
    module = importlib.import_module("resilience.pytest_plugin.session")
    session = module.ChaosSession(_options(request.config), chaos_allow)
    try:
        yield session
    finally:
        problems = session.close()
    if problems:
        pytest.fail("; ".join(problems), pytrace=False)


@pytest.fixture
def chaos(request: pytest.FixtureRequest, chaos_session: Any, chaos_target: Any) -> Iterator[Any]:
    """The verbs: proxy, fault, load, watch, breaker, judge. At the end all is healed; a fault left in place fails the test."""
    marker = request.node.get_closest_marker("chaos")
    module = importlib.import_module("resilience.pytest_plugin.chaos")
    limit_s = (
        float(marker.kwargs.get("max_duration", module.MAX_DURATION_S)) if marker else module.MAX_DURATION_S
    )
    verbs = module.Chaos(chaos_session, chaos_target, max_duration_s=limit_s)
    request.node.stash[_CHAOS] = verbs
    try:
        yield verbs
    finally:
        left = verbs.close()
    if left:
        pytest.fail("; ".join(left), pytrace=False)


@pytest.fixture
def achaos(chaos: Any) -> Any:
    """The same verbs, awaited."""
    return importlib.import_module("resilience.pytest_plugin.achaos").AsyncChaos(chaos)


@pytest.fixture
def chaos_toxiproxy(chaos: Any) -> Iterator[Any]:
    """A toxiproxy-python client of the session's own server. What is done with it by hand is reset at the end of the test."""
    client = importlib.import_module("resilience.pytest_plugin.clients")
    with client.toxiproxy_client(chaos.session.admin_url()) as found:
        yield found


@pytest.fixture
def chaos_lab(chaos_session: Any) -> Any:
    """The reference system, up: base_url, proxies, instances."""
    return chaos_session.lab()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed chaos test shows its timeline, and leaves its record."""
    outcome: Any = yield
    report = outcome.get_result()
    verbs = item.stash.get(_CHAOS, None)
    if report.when != "call" or verbs is None or (not report.failed and not verbs.session.options.keep):
        return
    timeline = verbs.timeline()
    if report.failed and timeline:
        report.sections.append(("chaos timeline", timeline))
    records = importlib.import_module("resilience.pytest_plugin.records")
    folder = verbs.session.options.report / records.folder_of(item.nodeid)
    try:
        page = records.write_record(
            folder, item.nodeid, verbs, timeline, failure=report.longreprtext if report.failed else ""
        )
    except OSError as error:
        page = f"no record could be written: {error}"
    report.sections.append(
        ("chaos record", f"{page} (seed {verbs.seed}; again with --chaos-seed {verbs.seed})")
    )
