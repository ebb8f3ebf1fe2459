"""A plan that names the user's own compose files: its stack, and whether its services can be interposed at all."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.cli.scenarios import fail_usage
from resilience.cli.terminal import complain
from resilience.plan import LoadedPlan
from resilience.plan.problems import nearest

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.interpose.composing import ComposeFiles
    from resilience.interpose.model import Wanted
    from resilience.interpose.stack import InterposedStack


def interposed_stack(loaded: LoadedPlan) -> InterposedStack | None:
    """The stack of a plan with `system: {compose: ...}`; `None` for any other plan."""
    system = loaded.plan.system
    if system is None:
        return None
    from resilience.interpose.stack import InterposedStack

    return InterposedStack(
        _files(loaded),
        _wanted(loaded),
        ready_url=system.ready.url,
        within_s=system.ready.within / 1e9,
        watched=system.watch,
    )


def check_interposable(loaded: LoadedPlan) -> None:
    """Exit with 2, the reasons and the ways out where the plan's services cannot be interposed; nothing is changed.

    What a dead run has left interposed is put back first, whatever the plan is about.
    """
    from faults.journal import default_state_dir

    state_dir = default_state_dir()
    if loaded.plan.system is None and not any((state_dir / "interposed").glob("*.json")):
        return  # Docker's client takes a while to import
    from resilience.interpose.composing import FilesInvalid
    from resilience.interpose.model import InterposeRefused
    from resilience.interpose.reading import services_of
    from resilience.interpose.standing import Site, prepare, undo_notes
    from resilience.lab.system import StackError

    for each in undo_notes(os.environ, state_dir, all_of_them=False):
        if each.error is not None:
            complain(
                f"compose project {each.project} was left interposed and cannot be put back: {each.error}"
            )
    if loaded.plan.system is None:
        return
    try:
        site = Site.open(os.environ, state_dir)
    except StackError:
        return  # a matter of the machine, not of the plan: the run says so, and ends with 6
    try:
        _check_services(loaded, services_of(prepare(site, _files(loaded), _wanted(loaded)).model))
    except FilesInvalid as error:
        fail_usage(f"{loaded.source}: {error}")
    except InterposeRefused as error:
        fail_usage(f"{loaded.source}: refused, and nothing was changed:\n{error}")
    except StackError:
        return
    finally:
        site.engine.close()


def _check_services(loaded: LoadedPlan, known: Collection[str]) -> None:
    """Exit with 2 where the plan faults or watches a service that its files do not have: the run would find out when all of it is up."""
    plan = loaded.plan
    assert plan.system is not None  # the caller has looked
    named = [("system.watch", name) for name in plan.system.watch]
    named += [(f"the fault {fault.id!r}", fault.container) for fault in plan.faults if fault.container]
    unknown = [
        f"{where}: no service {name!r}{nearest(name, known)}" for where, name in named if name not in known
    ]
    if unknown:
        fail_usage("\n".join(f"{loaded.source}: {each}" for each in unknown))


def _files(loaded: LoadedPlan) -> ComposeFiles:
    from resilience.interpose.composing import FilesInvalid, compose_files

    assert loaded.plan.system is not None  # the callers have looked
    named = loaded.plan.system.compose
    folder = Path(loaded.source).parent
    try:
        return compose_files(
            [folder / file for file in named.files],
            project=named.project,
            env_file=None if named.env_file is None else folder / named.env_file,
            profiles=named.profiles,
        )
    except FilesInvalid as error:
        fail_usage(f"{loaded.source}: system.compose: {error}")


def _wanted(loaded: LoadedPlan) -> tuple[Wanted, ...]:
    from resilience.interpose.model import Wanted

    return tuple(
        Wanted(proxy.service, proxy.port, name, proxy.tap.protocol, proxy.tap.correlate)
        for name, proxy in loaded.plan.proxies.items()
    )
