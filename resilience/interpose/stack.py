"""A plan's `system: {compose: ...}` as a stack: interposed for the run, watched while it lasts, put back after it.

    up      sweep, prepare, apply, wait until the system is ready, prove
    run     connections are looked at once a second, at both ends
    down    put back as it was

What speaks against the proof does not end the run: it is collected, and makes it invalid.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp

from faults.journal import default_state_dir
from resilience.interpose.composing import ComposeFiles, FilesInvalid
from resilience.interpose.counting import passed
from resilience.interpose.engine import Member, sockets_from_here
from resilience.interpose.journal import Note
from resilience.interpose.looking import prove, watch_once
from resilience.interpose.model import Front, InterposeRefused, Wanted
from resilience.interpose.proving import Doubt, silent
from resilience.interpose.standing import Site, apply, prepare, restore, undo_notes
from resilience.lab.probing import probing_session
from resilience.lab.system import ContainerPoint, Instance, ProxyPoint, StackError, System

log = logging.getLogger("chaos_spike.interpose")

_LOOK_EACH_S = 1.0
_MEMBERS_EACH_S = 5.0
_ASK_EACH_S = 0.2
_T = TypeVar("_T")


class InterposedStack:
    """A `Stack` of the user's own compose files. One project at a time; it may be brought up again after `down`."""

    def __init__(
        self,
        files: ComposeFiles,
        wanted: Sequence[Wanted],
        *,
        ready_url: str,
        within_s: float,
        watched: Sequence[str] = (),
        state_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._wanted = tuple(wanted)
        self._ready_url = ready_url
        self._within_s = within_s
        self._watched = tuple(watched)
        self._state_dir = state_dir or default_state_dir()
        self._environ = dict(os.environ if environ is None else environ)
        self._site: Site | None = None
        self._note: Note | None = None
        self._watching: asyncio.Task[None] | None = None
        self._found: dict[str, Doubt] = {}
        self._counted: dict[str, int] = {}

    def describe(self) -> str:
        """Such as "compose project shop: db, cache interposed"."""
        names = ", ".join(each.service for each in self._wanted)
        return f"compose files {', '.join(file.name for file in self._files.files)}: {names} interposed"

    async def up(self) -> System:
        """Interpose, and wait until the system is ready; StackError, with everything put back, where that fails."""
        if self._note is not None:
            raise StackError("this system is already up")
        try:
            return await self._up()
        except BaseException as error:
            try:
                await asyncio.shield(self.down())
            except StackError as left:
                log.warning("%s", left)
            if isinstance(error, (FilesInvalid, InterposeRefused)):
                raise StackError(str(error)) from error
            raise

    async def _up(self) -> System:
        await asyncio.to_thread(undo_notes, self._environ, self._state_dir, all_of_them=False)
        site = self._site = await asyncio.to_thread(Site.open, self._environ, self._state_dir)
        prepared = await asyncio.to_thread(prepare, site, self._files, self._wanted)
        for warning in prepared.warnings:
            log.warning("%s", warning)
        self._note = await self._stoppable(site, lambda: apply(site, prepared))
        await self._ready()
        system = await self._system(site, self._note)
        self._collect(await asyncio.to_thread(prove, site, self._note))
        self._counted = await passed(self._note.fronts)
        self._watching = asyncio.create_task(self._watch())
        return system

    async def _stoppable(self, site: Site, work: Callable[[], _T]) -> _T:
        """Run `work` in a thread; when we are cancelled it is told to stop, and has put everything back before we go on."""
        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            site.composer.stop.set()
            with contextlib.suppress(Exception):
                done = await asyncio.shield(working)
                if isinstance(done, Note):  # it was through before it heard of it
                    self._note = done
            raise
        finally:
            site.composer.stop.clear()

    async def down(self) -> None:
        """Put everything back; harmless when nothing is up."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})  # whatever it ended with: what stands interposed is put back
            if why := _broken(watching):
                log.warning("%s", why)
        site, note = self._site, self._note
        self._site = self._note = None
        if site is None:
            return
        try:
            if note is not None:
                await asyncio.to_thread(restore, site, note)
        finally:
            await asyncio.to_thread(site.engine.close)

    async def instances(self) -> tuple[Instance, ...]:
        """The watched services' containers as they are now."""
        if self._site is None or self._note is None:
            return ()
        members = await asyncio.to_thread(self._site.engine.members, self._note.project)
        return _instances(self._watched_members(members))

    async def doubts(self) -> tuple[str, ...]:
        """Why the proxies are not proved to have been the only way, after a last look from inside."""
        site, note = self._site, self._note
        if site is None or note is None:
            return ()
        self._collect(await asyncio.to_thread(prove, site, note))
        counted = await passed(note.fronts)
        for front in note.fronts:
            self._collect(silent(front, self._counted, counted))
        found = tuple(doubt.text for doubt in self._found.values() if doubt.is_grave)
        broken = _broken(self._watching) if self._watching is not None else None
        return found if broken is None else (*found, broken)

    def _collect(self, doubts: Sequence[Doubt]) -> None:
        for doubt in doubts:
            if doubt.text in self._found:
                continue
            if not doubt.is_grave:
                log.warning("%s", doubt.text)
            else:
                log.warning("this run will be invalid: %s", doubt.text)
            self._found[doubt.text] = doubt

    async def _watch(self) -> None:
        """Look at the connections once a second, where this host's kernel shows them; else the first and last look are all."""
        site, note = self._site, self._note
        assert site is not None
        assert note is not None
        members: tuple[Member, ...] = ()
        owners: dict[str, str] = {}
        read_at = 0.0
        while True:
            now = time.monotonic()
            try:
                if now - read_at > _MEMBERS_EACH_S:
                    members = await asyncio.to_thread(site.engine.members, note.project)
                    owners = await asyncio.to_thread(site.engine.owners, note.project)
                    read_at = now
                found = await asyncio.to_thread(watch_once, note, members, owners)
                if found and now != read_at:
                    read_at = 0.0  # an address may have gone to somebody else: looked at again at once
                    continue
            except StackError as error:
                log.debug("the connections of %s cannot be looked at: %s", note.project, error)
                found = None
            self._collect([doubt for doubt in found or () if doubt.kind == "bypass"])
            await asyncio.sleep(_LOOK_EACH_S)

    async def _ready(self) -> None:
        deadline = time.monotonic() + self._within_s
        said = "nothing answers"
        async with probing_session() as session:
            while time.monotonic() < deadline:
                try:
                    async with session.get(self._ready_url) as response:
                        if response.status < 400:
                            return
                        said = f"it answers {response.status}"
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    said = str(error) or type(error).__name__
                await asyncio.sleep(_ASK_EACH_S)
        raise StackError(f"the system was not ready within {self._within_s:g} s: {self._ready_url}: {said}")

    async def _system(self, site: Site, note: Note) -> System:
        members = await asyncio.to_thread(site.engine.members, note.project)
        named = {front.real: front.service for front in note.fronts}
        carriers = {each.service: each.id for each in members}
        origin = self._ready_url.split("/", 3)
        return System(
            stack="compose",
            base_url="/".join(origin[:3]),
            proxies={
                gate.name: _point(front, gate.name, gate.port, note, carriers.get(front.proxy))
                for front in note.fronts
                for gate in front.gates
            },
            instances=_instances(self._watched_members(members)),
            pids=_pids(self._watched_members(members)),
            facts={
                "engine": f"docker {await asyncio.to_thread(site.engine.version)}",
                "compose": str(site.composer.command),
                "interposed": ", ".join(front.service for front in note.fronts),
            },
            containers={
                named.get(each.service, each.service): ContainerPoint(
                    named.get(each.service, each.service), note.engine, each.id
                )
                for each in members
                if each.running and each.service not in {front.proxy for front in note.fronts}
            },
        )

    def _watched_members(self, members: Sequence[Member]) -> dict[str, list[Member]]:
        """The containers of each watched service, by the name that it has in the file."""
        named = {front.service: front.real for front in self._note.fronts} if self._note else {}
        return {
            name: [each for each in members if each.running and each.service == named.get(name, name)]
            for name in self._watched
        }


def _broken(watching: asyncio.Task[None]) -> str | None:
    """Why nobody watches any more, though nobody said so; `None` where all is well."""
    error = watching.exception() if watching.done() and not watching.cancelled() else None
    return (
        None if error is None else f"connections were not watched to the end: {type(error).__name__}: {error}"
    )


def _tap_url(front: Front) -> str:
    return f"http://127.0.0.1:{front.tap_port}"


def _point(front: Front, name: str, port: int, note: Note, container: str | None) -> ProxyPoint:
    return ProxyPoint(
        name=name,
        admin_url=f"http://127.0.0.1:{front.admin_port}",
        proxy=name,
        listen=f"{front.service}:{port}",
        upstream=f"{front.real}:{port}",
        tap_url=_tap_url(front),
        tap=name,
        engine=note.engine,
        container=container,
    )


def _instances(members: Mapping[str, Sequence[Member]]) -> tuple[Instance, ...]:
    return tuple(
        Instance(service, f"{service}-{number}", pid=each.pid or None, boot=each.id[:12])
        for service, found in members.items()
        for number, each in enumerate(found, start=1)
    )


def _pids(members: Mapping[str, Sequence[Member]]) -> dict[str, tuple[int, ...]]:
    """Main processes, where they are processes that this host can see."""
    return {
        service: tuple(each.pid for each in found if sockets_from_here(each) is not None)
        for service, found in members.items()
    }
