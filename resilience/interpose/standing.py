"""Interposing a project, and putting it back. Synchronous; callers on an event loop use a thread.

    prepare ──▶ apply ──▶ prove (looking.py) ──▶ ... ──▶ restore

`prepare` changes nothing, and refuses what it must. `apply` notes what it is about to do, then takes the dependency's container away and lets
compose create the rewritten model; if that fails, it restores. `restore` works from the note alone, in any process, from any point that
`apply` got to, any number of times.

Restored is what was there before: services that ran run as the files say, services that did not are gone, and a project that was
not up is down again, with the volumes and networks that it had. Compose's `--remove-orphans` is not used for it: it would
take containers along that belong to other files of the same project.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resilience.interpose.choosing import choose
from resilience.interpose.composing import ComposeFiles, Composer, FilesInvalid
from resilience.interpose.engine import Member, ProjectEngine
from resilience.interpose.journal import (
    Note,
    forget_note,
    read_note,
    read_notes,
    unreadable_notes,
    write_note,
)
from resilience.interpose.model import (
    Facts,
    Interposition,
    Model,
    Wanted,
)
from resilience.interpose.present import check_members
from resilience.interpose.reading import graces_s, leans_on, services_of
from resilience.interpose.rewriting import ADMIN_NETWORK, interpose
from resilience.lab.compose.command import find_compose
from resilience.lab.compose.images import provide_own_image
from resilience.lab.identity import ProcessId
from resilience.lab.ports import free_ports
from resilience.lab.system import StackError

log = logging.getLogger("chaos_spike.interpose")

UP_VARIABLE = "CHAOS_SPIKE_COMPOSE_TIMEOUT_S"
_UP_S = 120.0
_POLL_S = 0.25
_SETTLE_S = 0.5
_REMOVAL_S = 30.0
_NO_IMAGE = "chaos-spike"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be done: `files` with the project's name, the file as resolved, what is wanted of it, and what comes of it."""

    files: ComposeFiles
    model: Model
    wanted: tuple[Wanted, ...]
    facts: Facts
    plan: Interposition
    members: tuple[Member, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """An engine and a compose, and where notes are kept."""

    engine: ProjectEngine
    composer: Composer
    state_dir: Path

    @classmethod
    def open(cls, environ: Mapping[str, str], state_dir: Path) -> Site:
        """Connect; StackError where engine or compose are missing. Close `engine` in the end."""
        engine = ProjectEngine.connect(environ)
        assert isinstance(engine, ProjectEngine)  # `connect` makes what it is called on
        try:
            environ = {**environ, "DOCKER_HOST": engine.address}
            return cls(engine, Composer(find_compose(environ), environ), state_dir)
        except BaseException:
            engine.close()
            raise


def prepare(site: Site, files: ComposeFiles, wanted: Sequence[Wanted]) -> Prepared:
    """Resolve the files and say what would be done. FilesInvalid or InterposeRefused with all reasons; nothing is changed."""
    files, model = site.composer.resolve(files)
    project = str(files.project)
    if (note := read_note(site.state_dir, project)) is not None:
        raise FilesInvalid(_standing(note))
    facts = facts_of(site, files, model)
    left_out: tuple[str, ...] = ()
    if not wanted:
        choice = choose(model, facts)
        wanted = choice.wanted
        left_out = tuple(f"left out: {refusal}" for refusal in choice.left_out)
        if not wanted:
            said = "\n".join(left_out) or "no service says that it calls another; name one with --dependency"
            raise FilesInvalid(f"{files.files[0]}: there is nothing to interpose: {said}")
    plan = interpose(model, wanted, facts)
    members = site.engine.members(project)
    check_members(files, model, members, plan)
    warnings = (*plan.warnings, *left_out, *_drift(site.composer, files, members))
    return Prepared(files, model, tuple(wanted), facts, plan, members, warnings)


def facts_of(site: Site, files: ComposeFiles, model: Model) -> Facts:
    """What the files do not say, asked of engine and machine. The image of ours is not known yet."""
    services, separator = services_of(model), site.composer.separator
    asked = {
        name: site.engine.exposed(str(service.get("image") or f"{files.project}{separator}{name}"))
        for name, service in services.items()
    }
    ports = free_ports(2 * len(services))
    exposed = {name: found for name, found in asked.items() if found is not None}
    absent = frozenset(asked.keys() - exposed.keys())
    return Facts(str(files.project), separator, _NO_IMAGE, exposed, ports, absent)


def _standing(note: Note) -> str:
    names = ", ".join(front.service for front in note.fronts)
    if note.owner is not None and note.owner.runs():
        return f"{note.project}: {names} is being interposed by process {note.owner.pid}; wait for it to end"
    return f"{note.project}: {names} is interposed already; put it back first: chaos-spike undo"


def _drift(composer: Composer, files: ComposeFiles, members: Sequence[Member]) -> list[str]:
    said = composer.hashes(files) if members else {}
    changed = {
        each.service for each in members if said.get(each.service, each.config_hash) != each.config_hash
    }
    return [
        f"{name} runs with another configuration than its file says now, and will be brought to that"
        for name in sorted(changed)
    ]


def apply(site: Site, prepared: Prepared) -> Note:
    """Interpose; the note, owned by this process. StackError or whatever else went wrong, after restoring; refusals as in `prepare`."""
    with tempfile.TemporaryDirectory(prefix="chaos-spike-build-") as scratch:
        image = provide_own_image(site.engine, site.composer.environ, Path(scratch))
    plan = interpose(prepared.model, prepared.wanted, replace(prepared.facts, image=image))
    project = str(prepared.files.project)
    # Looked at again: making the image takes minutes the first time, and the project's owner has gone on meanwhile.
    members = site.engine.members(project)
    check_members(prepared.files, prepared.model, members, plan)
    volumes, networks = site.engine.kept(project)
    owner = ProcessId.of(os.getpid())
    assert owner is not None  # we run
    known = services_of(prepared.model)
    before: dict[str, bool] = {}
    for member in members:
        if member.service in known:
            before[member.service] = before.get(member.service, False) or member.running
    note = Note(
        files=_as_spelled(prepared.files, members),
        engine=site.engine.address,
        image=image,
        owner=owner,
        before=before,
        volumes=volumes,
        networks=networks,
        fronts=plan.fronts,
        model=prepared.model,
    )
    write_note(site.state_dir, note, fresh=True)
    try:
        _bring_up(site, plan, prepared.files, note)
    except BaseException:
        site.composer.stop.clear()
        try:
            restore(site, note)
        except StackError as left:
            # Why it was not interposed matters more; what is left stays noted, for `undo`.
            log.warning("%s", left)
        raise
    return note


def _as_spelled(files: ComposeFiles, members: Sequence[Member]) -> ComposeFiles:
    """The files as whoever started the project spelled them: compose writes that on its containers."""
    for member in members:
        spelled = tuple(Path(name) for name in member.files.split(","))
        if not member.from_a_pipe and member.directory and len(spelled) == len(files.files):
            return replace(files, files=spelled, started_in=member.started_in)
    return files


def _bring_up(site: Site, plan: Interposition, files: ComposeFiles, note: Note) -> None:
    project = note.project
    old = site.engine.members(project)
    graces = graces_s(note.model)
    dependencies = [each for each in old if each.service in plan.services]
    site.engine.remove_members(dependencies, graces, with_volumes=False)
    running = [name for name, ran in note.before.items() if ran]
    names: list[str] = []
    if running:
        both = [*running, *(name for name in plan.services if name not in running)]
        names = [new for name in both for new in plan.services.get(name, (name,))]
    site.composer.up(plan.model, files, names)
    _wait(site, project, [name for front in plan.fronts for name in (front.proxy, front.real)])
    _restart_callers(site.engine, note, plan.callers, old)


def _restart_callers(
    engine: ProjectEngine, note: Note, callers: Sequence[str], old: Sequence[Member]
) -> None:
    """Callers that compose has left as they were know addresses, and have connections, of before."""
    known = {each.id for each in old}
    same = [each for each in engine.members(note.project) if each.id in known]
    engine.restart_members([each for each in same if each.service in callers], graces_s(note.model))


def _wait(site: Site, project: str, services: Sequence[str]) -> None:
    """Until these services serve; StackError for one that ended, or is not healthy in time."""
    engine = site.engine
    limit_s = _limit_s(site.composer.environ)
    deadline = time.monotonic() + limit_s
    while True:
        members = [each for each in engine.members(project) if each.service in services]
        here = {each.service for each in members}
        late = [each for each in members if not each.serves]
        if here == set(services) and not late:
            return
        lost = [each for each in late if each.health == "unhealthy" or (not each.running and each.exit_code)]
        if lost or time.monotonic() > deadline:
            bad = (lost or late)[:1]
            if not bad:
                raise StackError(f"compose did not create {', '.join(sorted(set(services) - here))}")
            what = "got unhealthy" if bad[0].health == "unhealthy" else f"did not serve within {limit_s:g} s"
            if not bad[0].running:
                what = f"ended (exit {bad[0].exit_code})"
            raise StackError(f"{bad[0].service} {what}; its last log lines:\n{engine.last_words(bad[0])}")
        if site.composer.stop.wait(_POLL_S):
            raise StackError("stopped")


def _limit_s(environ: Mapping[str, str]) -> float:
    text = environ.get(UP_VARIABLE) or str(_UP_S)
    try:
        return float(text)
    except ValueError:
        raise StackError(f"{UP_VARIABLE}={text!r} is no number of seconds") from None


def restore(site: Site, note: Note) -> None:
    """Put everything back as it was noted, then forget the note. StackError where something stayed; the note then stays, too."""
    engine, project = site.engine, note.project
    engine.remove_looks(project)
    old = engine.members(project)
    _remove_until_clean(engine, note)
    if note.before:
        _restore_services(site, note, old)
        engine.remove_networks(project, ADMIN_NETWORK)
    else:
        # Whoever has taken the project down and up again meanwhile has made it theirs: theirs stays.
        ours = [each for each in engine.members(project) if each.from_a_pipe]
        engine.remove_members(ours, graces_s(note.model), with_volumes=True)
        if not engine.members(project):
            volumes = note.volumes if _stands(note, old) else engine.kept(project)[0]
            engine.remove_rest(project, volumes, note.networks)
    forget_note(site.state_dir, project)


def _stands(note: Note, members: Sequence[Member]) -> bool:
    """Whether volumes that are new since the note are ours: this process has made them, or what did stands to this day.

    Else their owner has taken the project down, may have used it ever since, and they may hold what nobody has but they.
    """
    return note.owner == ProcessId.of(os.getpid()) or any(each.from_a_pipe for each in members)


def _remove_until_clean(engine: ProjectEngine, note: Note) -> None:
    """Remove what interposition added. Looked at twice: a dead process's compose may still have been creating."""
    ours = {name for front in note.fronts for name in (front.real, front.proxy)}
    # The dependency is given the time that it was given under its own name.
    graces = graces_s(note.model)
    graces |= {front.real: graces[front.service] for front in note.fronts if front.service in graces}
    deadline = math.inf
    clean = 0
    while clean < 2:
        left = [each for each in engine.members(note.project) if each.service in ours]
        clean = 0 if left else clean + 1
        if left and time.monotonic() > deadline:
            names = ", ".join(each.name for each in left)
            raise StackError(
                f"{names} cannot be removed: the engine says neither that it is gone nor why not"
            )
        engine.remove_members(left, graces, with_volumes=True)
        # From the end of the first try: a dependency may be given many minutes to end.
        deadline = min(deadline, time.monotonic() + _REMOVAL_S)
        if clean < 2:
            time.sleep(_SETTLE_S)


def _restore_services(site: Site, note: Note, old: Sequence[Member]) -> None:
    renamed = {front.service for front in note.fronts}
    known = services_of(note.model)
    callers = {caller for front in note.fronts for caller in front.callers}
    callers |= {name for name, said in known.items() if any(leans_on(said, each) for each in renamed)}
    # Whatever else compose has created over the pipe, or was about to, such as after a change of the file.
    made = {name for name in note.before if all(each.from_a_pipe for each in old if each.service == name)}
    touched = [name for name in note.before if name in renamed | callers | made]
    running = [name for name in touched if note.before[name]]
    stopped = [name for name in touched if not note.before[name] and name in renamed | made]
    try:
        _, now = site.composer.resolve(note.files)
    except (FilesInvalid, StackError):
        now = {}
    # The files themselves, where they still say the same: containers bear their names.
    by_files = now == note.model
    for names, start in ((running, True), (stopped, False)):
        if not names:
            continue
        if by_files:
            site.composer.up_files(note.files, names, start=start)
        else:
            site.composer.up(note.model, note.files, names, start=start)
    _restart_callers(site.engine, note, [name for name in callers if note.before.get(name)], old)
    # Where nothing ran, all of the file was brought up.
    idle = not any(note.before.values())
    began = {name for name in note.before if not note.before[name] and (idle or name in callers)}
    members = [each for each in site.engine.members(note.project) if each.service in known]
    graces = graces_s(note.model)
    site.engine.stop_members([each for each in members if each.running and each.service in began], graces)
    added = [each for each in members if each.from_a_pipe and each.service not in note.before]
    site.engine.remove_members(added, graces, with_volumes=True)


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one note. `error` says why it still stands."""

    project: str
    services: tuple[str, ...]
    error: str | None


def undo_notes(
    environ: Mapping[str, str],
    state_dir: Path,
    *,
    all_of_them: bool,
    only: Callable[[Note], bool] = lambda _note: True,
) -> list[Undone]:
    """Put back what dead processes have left, and what stands by itself where `all_of_them` is asked for. Never raises."""
    done = []
    for note in read_notes(state_dir):
        alive = note.owner is not None and note.owner.runs()
        if alive or (note.owner is None and not all_of_them) or not only(note):
            continue
        services = tuple(front.service for front in note.fronts)
        try:
            site = Site.open({**environ, "DOCKER_HOST": note.engine}, state_dir)
            try:
                restore(site, note)
            finally:
                site.engine.close()
        except (StackError, FilesInvalid) as error:
            done.append(Undone(note.project, services, str(error)))
        else:
            done.append(Undone(note.project, services, None))
    if all_of_them:
        for path in unreadable_notes(state_dir):
            why = f"{path} cannot be read; if another version of chaos-spike wrote it, that one undoes it"
            done.append(Undone(path.stem, ("nobody knows what",), why))
    return done
