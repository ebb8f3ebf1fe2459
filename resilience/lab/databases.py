"""The embedded PostgreSQL and valkey: real servers on loopback, durable for nobody.

Both are throw-away: no fsync, everything under the lab's directory, a random password, TCP on 127.0.0.1 only, no
socket files. Neither can be handed a listening socket or asked for port 0, so a free port is picked and, should somebody
else take it first, another: up to `_TRIES`. A fixed port is tried once, and its error names it.

Passwords and secrets are written to files that only the server's account can read; nothing is in the arguments.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from resilience.lab.binaries import PostgresPrograms
from resilience.lab.child import Child, Program
from resilience.lab.ports import LOOPBACK, free_port, port_taken
from resilience.lab.system import StackError
from resilience.lab.unprivileged import Account

USER = "lab"
DATABASE = "postgres"
_TRIES = 5
_POLL_S = 0.02
# io_method came with 18, where the default starts three more processes.
_IO_METHOD_SINCE = 18


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    child: Child
    port: int
    password: str
    version: str
    again: Callable[[], Awaitable[Child]]
    """Start it again where it was, on its port and with its files, once it has ended."""


class PortTakenError(Exception):
    """Somebody else listens there: try another port."""


async def _output(command: list[str], name: str, *, cwd: Path, account: Account | None) -> str:
    """What a short-lived program prints; StackError with its last lines if it fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env={**_clean_environ(), "LC_ALL": "C"},
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
    except OSError as error:
        raise StackError(f"{name} cannot be started: {error}") from error
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        # The whole session: initdb's own children would go on writing where we are about to tidy up.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    text = output.decode(errors="replace").strip()
    if process.returncode:
        raise StackError(f"{name} failed (exit {process.returncode}):\n" + "\n".join(text.splitlines()[-15:]))
    return text


def _clean_environ() -> dict[str, str]:
    """Ours without what would redirect PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _owned(path: Path, account: Account | None, *, text: str | None = None) -> Path:
    """Make a directory, or a file with `text`, that only the server's account can read."""
    if text is None:
        path.mkdir(mode=0o700)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    if account is not None:
        os.chown(path, account.uid, account.gid)
    return path


async def start_postgres(
    directory: Path, logs: Path, programs: PostgresPrograms, account: Account | None, fixed_port: int | None
) -> Server:
    """Initialise a cluster under `directory` and start it; StackError with PostgreSQL's last words if it fails."""
    password = secrets.token_hex(16)
    home = _owned(directory / "postgres", account)
    password_file = _owned(directory / "postgres.password", account, text=password)
    version_text, _ = await asyncio.gather(
        _output([str(programs.postgres), "--version"], "postgres", cwd=home, account=account),
        _output(
            [
                *(str(programs.initdb), "-D", str(home / "data"), "-U", USER, f"--pwfile={password_file}"),
                *("-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-instructions"),
                "--no-sync",  # a power cut may have this cluster
            ],
            "initdb",
            cwd=home,
            account=account,
        ),
    )
    password_file.unlink()
    version = version_text.split()[-1] if "(" not in version_text else version_text.split()[2]
    settings = {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        # A power cut may have what was acknowledged; the killing of the server, which is a fault that plans have, may not.
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        # In the data directory, where it goes with the rest, instead of /dev/shm.
        "dynamic_shared_memory_type": "mmap",
        "max_connections": "100",
    }
    if int(version.partition(".")[0]) >= _IO_METHOD_SINCE:
        settings["io_method"] = "sync"

    async def start(port: int) -> Child:
        command = [str(programs.postgres), "-D", str(home / "data"), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        program = Program(
            "postgres",
            command,
            cwd=home,
            account=account,
            ours=False,
            # Fast shutdown: break off sessions, write what is needed, go.
            stop_signal=signal.SIGINT,
        )
        return await _settled(
            program, logs / "postgres.log", lambda pid: _postmaster_ready(home / "data", pid)
        )

    child, port = await _on_some_port("postgres", fixed_port, start)
    return Server(child, port, password, version, lambda: _again("postgres", start, port))


async def _postmaster_ready(data: Path, pid: int) -> bool:
    """PostgreSQL's own sign: the eighth line of postmaster.pid, the one pg_ctl waits for; of this start, not of one that was killed."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


async def start_valkey(directory: Path, logs: Path, program_path: Path, fixed_port: int | None) -> Server:
    """Start a cache that keeps nothing on disk; StackError with its last words if it fails."""
    password = secrets.token_hex(16)
    home = _owned(directory / "valkey", None)
    version_text = await _output([str(program_path), "--version"], "valkey-server", cwd=home, account=None)
    version = next((word[2:] for word in version_text.split() if word.startswith("v=")), "unknown")

    async def start(port: int) -> Child:
        config = home / "valkey.conf"
        config.unlink(missing_ok=True)
        lines = [f"bind {LOOPBACK}", f"port {port}", f"requirepass {password}", f'dir "{home}"']
        lines += [
            'save ""',
            "appendonly no",
            "daemonize no",
            "maxmemory 64mb",
            "maxmemory-policy allkeys-lru",
        ]
        _owned(config, None, text="\n".join(lines) + "\n")
        program = Program("valkey", [str(program_path), str(config)], cwd=home, ours=False)
        return await _settled(program, logs / "valkey.log", lambda _pid: _valkey_ready(port))

    child, port = await _on_some_port("valkey", fixed_port, start)
    return Server(child, port, password, version, lambda: _again("valkey", start, port))


async def _valkey_ready(port: int) -> bool:
    """Whether something on the port answers the protocol (with an error: we are not logged in)."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(1):
            return (await reader.read(64)).startswith((b"-NOAUTH", b"+PONG"))
    except (OSError, TimeoutError):
        return False
    finally:
        writer.close()


async def _settled(program: Program, log: Path, answers: Callable[[int], Awaitable[bool]]) -> Child:
    """Start `program` and wait until it, by its pid, answers; PortTakenError or StackError if it ends first."""
    child = await Child.start(program, log)
    try:
        while not child.ended:
            if await answers(child.pid):
                return child
            await asyncio.sleep(_POLL_S)
    except BaseException:
        await child.stop(1.0)
        raise
    if "address already in use" in child.tail().lower():
        raise PortTakenError
    raise child.died()


async def _on_some_port(
    name: str, fixed_port: int | None, start: Callable[[int], Awaitable[Child]]
) -> tuple[Child, int]:
    for _ in range(1 if fixed_port else _TRIES):
        port = fixed_port or free_port()
        try:
            return await start(port), port
        except PortTakenError:
            continue
    if fixed_port:
        raise port_taken(name, fixed_port, OSError("Address already in use"))
    raise StackError(f"{name} found no free port in {_TRIES} tries")


async def _again(name: str, start: Callable[[int], Awaitable[Child]], port: int) -> Child:
    """Start on the port that is this server's; StackError if somebody else has it by now."""
    try:
        return await start(port)
    except PortTakenError:
        raise port_taken(name, port, OSError("Address already in use")) from None
