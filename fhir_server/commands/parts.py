"""concord http, mllp, worker: one process each, against a shared database; `concord serve` runs the same."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from fhir_server import life
from fhir_server.app import Concord, front, keep, opened
from fhir_server.app import mllp as ports_of
from fhir_server.app import worker as worker_of
from fhir_server.commands.runtime import fail, run, server_dsn, settings_of, with_address
from fhir_server.engine import celery_app
from fhir_server.engine.celery_app import Drains
from fhir_server.settings import Settings

# Given by `concord serve` to its children: the listening socket, and the pipe that ends with the supervisor.
Fd = Annotated[int | None, typer.Option("--fd", hidden=True)]
Life = Annotated[int | None, typer.Option("--life", hidden=True)]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the installation. [env: CONCORD_DATA_DIR]")]
Stopped = Callable[[], Awaitable[Any]]


def http(
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    fd: Fd = None,
    life: Life = None,
) -> None:
    """Serve FHIR, the clinic's API and the operator pages over HTTP."""
    settings = settings_of(host=host, port=port, data_dir=data_dir)
    _run(settings, life, lambda concord, stopped: _http(concord, stopped, fd))


def mllp(
    host: Host = None,
    mllp_port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    mllp_tenant: Annotated[str | None, typer.Option(help="Tenant that gets what no channel knows: for a demo.")] = None,
    data_dir: DataDir = None,
    fd: Fd = None,
    tls_fd: Annotated[int | None, typer.Option("--tls-fd", hidden=True)] = None,
    life: Life = None,
) -> None:
    """Take HL7 v2 messages over MLLP: each is stored before it is acknowledged."""
    settings = settings_of(mllp_host=host, mllp_port=mllp_port, mllp_tenant=mllp_tenant, data_dir=data_dir)
    given = _Given(fd, tls_fd) if life is not None else None
    _run(settings, life, lambda concord, stopped: _mllp(concord, stopped, given))


def worker(data_dir: DataDir = None, life: Life = None) -> None:
    """Map the messages that wait, in order for each patient."""
    settings = settings_of(data_dir=data_dir)
    if settings.broker_url:
        _celery(settings, settings.broker_url, life)
    else:
        _run(settings, life, _worker)


def _run(settings: Settings, pipe: int | None, work: Callable[[Concord, Stopped], Awaitable[None]]) -> None:
    async def main(dsn: str) -> None:
        stop = asyncio.Event()
        life.watch(stop.set, pipe, settings.stop_timeout)
        async with opened(with_address(settings), dsn) as concord:
            life.settle()
            await work(concord, stop.wait)

    run(settings, main)


def _celery(settings: Settings, broker_url: str, pipe: int | None) -> None:
    """Be a Celery worker: the broker wakes it, what it does is the same."""
    if pipe is not None:
        life.end_with(pipe, settings.stop_timeout)

    @contextlib.asynccontextmanager
    async def open_worker() -> AsyncIterator[Drains]:
        async with opened(with_address(settings), dsn) as concord:
            days = asyncio.create_task(keep(concord))
            life.settle()
            yield worker_of(concord)
            days.cancel()
            await asyncio.wait({days})

    with server_dsn(settings) as dsn:
        sys.exit(celery_app.serve(broker_url, open_worker, 1))


async def _http(concord: Concord, stopped: Stopped, fd: int | None) -> None:
    sock = _listening(fd, concord.settings.host, concord.settings.port)
    concord = msgspec.structs.replace(concord, settings=concord.settings.evolve(port=sock.getsockname()[1]))
    given = concord.settings
    import uvicorn  # only the processes that answer HTTP pay for it

    config = _config(concord)
    server = uvicorn.Server(config)
    # Signals are life's: uvicorn's own handlers would undo them.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    if fd is None:
        _tell({"base_url": concord.base_url, "http_port": given.port})
    stop = asyncio.ensure_future(stopped())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await task


def _config(concord: Concord) -> Any:
    from fhir_server.http.serving import config_of

    try:
        return config_of(front(concord), concord.settings)
    except OSError as problem:
        fail(f"the certificate cannot be used: {problem}; see CONCORD_TLS_CERT and CONCORD_TLS_KEY")


class _Given(msgspec.Struct, frozen=True):
    """The listening sockets that `concord serve` gives: those in plain text and over TLS, where they are wanted."""

    plain: int | None
    tls: int | None


async def _mllp(concord: Concord, stopped: Stopped, given: _Given | None) -> None:
    async with ports_of(concord) as ports:
        shared = {}
        for name, sock in _doors(concord.settings, given).items():
            shared[name] = (await ports.share(sock, tls=name == "mllp_tls_port")).port
        if given is None:
            _tell(shared)
        await stopped()


def _doors(settings: Settings, given: _Given | None) -> dict[str, socket.socket]:
    """Return the listening sockets of the shared ports by the name of their setting."""
    if given is not None:
        fds = {"mllp_port": given.plain, "mllp_tls_port": given.tls}
        return {name: socket.socket(fileno=fd) for name, fd in fds.items() if fd is not None}
    wanted = mllp_ports(settings)
    return {name: listen(settings.mllp_host, port) for name, port in wanted.items()}


def mllp_ports(settings: Settings, *, unasked: bool = True) -> dict[str, int]:
    """Return the shared ports of MLLP: with a certificate that of TLS, and the plain one only where it is asked for.

    Without a certificate the plain one is there as well `unasked`.
    """
    plain = settings.mllp_tenant is not None or "mllp_port" in settings.model_fields_set
    found = {"mllp_port": settings.mllp_port} if plain or (unasked and not settings.mllp_tls_cert) else {}
    return found | ({"mllp_tls_port": settings.mllp_tls_port} if settings.mllp_tls_cert else {})


async def _worker(concord: Concord, stopped: Stopped) -> None:
    work = worker_of(concord)
    task = asyncio.create_task(work.run())
    days = asyncio.create_task(keep(concord))
    stop = asyncio.ensure_future(stopped())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    work.stop()
    await task
    days.cancel()
    await asyncio.wait({days})


def _tell(ports: dict[str, Any]) -> None:
    """Tell the ports as one JSON line, as `concord serve` does; its own children leave that to it."""
    print(msgspec.json.encode(ports).decode(), flush=True)


def _listening(fd: int | None, host: str, port: int) -> socket.socket:
    return socket.socket(fileno=fd) if fd is not None else listen(host, port)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening socket; `shared` lets several sockets have the same port, one for each process."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    # Said in full: asyncio turns off Nagle's delay, 40 ms for an answer in two pieces, only where it sees TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock
