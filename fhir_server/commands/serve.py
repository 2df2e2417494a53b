"""concord serve: the whole installation with one command, embedded PostgreSQL included."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fhir_server.app import base_url
from fhir_server.app.mllp import proof_of
from fhir_server.app.vault import KeyProblem, file_of
from fhir_server.clock import clock
from fhir_server.commands import demo as demonstration
from fhir_server.commands.parts import listen, mllp_ports
from fhir_server.commands.runtime import ADDRESS, Address, fail, settings_of
from fhir_server.settings import Settings
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres
from fhir_server.store.migrate import MigrationError, migrate
from fhir_server.supervisor import LIFE, ChildSpec, Patience, Supervisor

_READY_WITHIN = 60.0
_FLAGS = {"mllp_port": "--fd", "mllp_tls_port": "--tls-fd"}


def serve(
    demo: Annotated[bool, typer.Option("--demo", help="Make tenants demo and other, and send a few messages.")] = False,
    host: Annotated[str | None, typer.Option(help="Address for HTTP and MLLP to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0 takes a free one.")] = None,
    mllp_port: Annotated[int | None, typer.Option(help="MLLP port; 0 takes a free one.")] = None,
    mllp_tenant: Annotated[str | None, typer.Option(help="Tenant that messages on the MLLP port belong to.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the installation. [env: CONCORD_DATA_DIR]")] = None,
    workers: Annotated[int | None, typer.Option(help="HTTP processes.", min=1)] = None,
) -> None:
    """Start everything: PostgreSQL, HTTP, MLLP and the worker. Ctrl-C stops it all."""
    settings = settings_of(
        host=host,
        mllp_host=host,
        port=port,
        mllp_port=mllp_port,
        mllp_tenant=mllp_tenant or ("demo" if demo else None),
        data_dir=data_dir,
        http_workers=workers,
    )
    if demo and "second_factor" not in settings.model_fields_set:
        # Who looks at a demo need not set up an app first.
        settings = settings.evolve(second_factor="optional")
    _require_certificate(settings)
    try:
        with _database(settings) as (given, postgres), contextlib.ExitStack() as held:
            sys.exit(asyncio.run(_serve(given, postgres, held, demo=demo)))
    except (EmbeddedError, MigrationError, KeyProblem) as problem:
        fail(str(problem))


def _require_certificate(settings: Settings) -> None:
    try:
        proof_of(settings)
    except OSError as problem:
        fail(f"the certificate for MLLP cannot be used: {problem}; see CONCORD_MLLP_TLS_CERT")


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[Settings, EmbeddedPostgres | None]]:
    """Give settings with a database URL, and the embedded PostgreSQL where that is the one."""
    today = clock(settings.test_clock)().date()
    if settings.database_url:
        if settings.migrate_database_url:
            migrate(settings.migrate_database_url, settings.database_url, today=today)
        yield settings, None
        return
    with EmbeddedPostgres(settings.data_dir) as postgres:
        migrate(postgres.admin_dsn(), postgres.server_dsn(), today=today)
        yield settings.evolve(database_url=postgres.server_dsn(), master_key_file=file_of(settings)), postgres


async def _serve(
    settings: Settings, postgres: EmbeddedPostgres | None, held: contextlib.ExitStack, *, demo: bool
) -> int:
    doors = _sockets(settings.host, settings.port, settings.http_workers)
    wanted = mllp_ports(settings, unasked=False)
    lab = {name: _sockets(settings.mllp_host, port, 1)[0] for name, port in wanted.items()}
    for sock in (*doors, *lab.values()):
        held.callback(sock.close)
    ports = {name: sock.getsockname()[1] for name, sock in lab.items()}
    given = settings.evolve(port=doors[0].getsockname()[1], **ports)
    given = given.evolve(base_url=base_url(given))
    await demonstration.prepare(given, demo=demo)
    supervisor = Supervisor(
        _children(given, doors, lab),
        patience=Patience(grace=given.stop_timeout),
        watch=lambda: _lost(postgres),
        on_stopping=held.close,
    )
    running = asyncio.create_task(supervisor.run())
    ready = asyncio.create_task(_announce(given, ports, demo=demo))
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if ready.done() and ready.exception():
        supervisor.stop()
        await running
        fail(str(ready.exception()))
    code = await running
    ready.cancel()
    return code


def _sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Return one listening socket for each process, all on one port; exit where another program has it."""
    try:
        # Sockets that share a port would also share it with a second server of this user: look first.
        probe = listen(host, port)
        taken = probe.getsockname()[1]
        probe.close()
        return [listen(host, taken, shared=True) for _ in range(count)]
    except OSError as problem:
        fail(f"{host}:{port} cannot be listened on: {problem.strerror}; choose another port, or 0 for any free one")


def _children(settings: Settings, doors: Sequence[socket.socket], lab: Mapping[str, socket.socket]) -> list[ChildSpec]:
    env = settings.environ()

    def child(name: str, command: str, socks: Mapping[str, socket.socket], stage: int = 0) -> ChildSpec:
        argv = [sys.executable, "-m", "fhir_server.cli", command, "--life", LIFE]
        fds = {flag: sock.fileno() for flag, sock in socks.items()}
        flags = [word for flag, fd in fds.items() for word in (flag, str(fd))]
        return ChildSpec(name, [*argv, *flags], tuple(fds.values()), env, stage)

    http = [child(f"http-{n}", "http", {"--fd": sock}) for n, sock in enumerate(doors)]
    # It is there without a shared port as well: channels may have ports of their own, at any time.
    mllp = child("mllp", "mllp", {_FLAGS[name]: sock for name, sock in lab.items()})
    return [*http, mllp, child("worker", "worker", {}, 1)]


def _lost(postgres: EmbeddedPostgres | None) -> str | None:
    status = postgres.exited() if postgres else None
    return None if status is None else f"PostgreSQL ended with status {status}: see postgres.log in the data folder"


async def _announce(settings: Settings, ports: Mapping[str, int], *, demo: bool) -> None:
    """Wait until requests can be served; tell the ports as one JSON line, and show the demo where it is asked for."""
    await _until_ready(settings)
    mllp, tls = ports.get("mllp_port", 0), ports.get("mllp_tls_port", 0)
    address = Address(str(settings.base_url), settings.port, mllp, os.getpid(), tls)
    (settings.data_dir / ADDRESS).write_bytes(msgspec.json.encode(address))
    print(msgspec.json.encode(address).decode(), flush=True)
    if demo:
        await demonstration.show(settings)


async def _until_ready(settings: Settings) -> None:
    async with asyncio.timeout(_READY_WITHIN):
        while not await _answers(settings.host, settings.port, _unverified() if settings.tls_cert else None):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def _answers(host: str, port: int, tls: ssl.SSLContext | None) -> bool:
    """Ask /readyz; the socket listens from the start, so that only an answer tells that somebody serves."""
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status


def _unverified() -> ssl.SSLContext:
    """Return a context for a question to ourselves, whose certificate is of another name than this address."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
