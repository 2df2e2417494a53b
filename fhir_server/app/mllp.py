"""The ports of MLLP, wired to an installation: the shared ones of the settings, and those that channels have."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import structlog

from adapters.accepting import Seats
from adapters.certificates import Renewed
from adapters.mllp import Limits, Listener
from fhir_server.app.concord import Concord
from fhir_server.app.work import directory_of, receiving
from fhir_server.engine.directory import Directory
from fhir_server.engine.receive import Receiver
from fhir_server.settings import Settings
from fhir_server.settings_mllp import ports_of

log = structlog.get_logger(__name__)
# A port that could not be had is tried again after so long, and whenever a channel changes.
_AGAIN = 5.0


class Ports:
    """Listeners that come and go with the channels; what cannot be opened is told, and the others go on."""

    def __init__(self, receiver: Receiver, settings: Settings, proof: Renewed | None) -> None:
        self._receiver, self._settings, self._proof = receiver, settings, proof
        self._seats = Seats(settings.mllp_max_connections, settings.mllp_max_connections_per_peer)
        self._allowed = ports_of(settings.mllp_channel_ports)
        self._own: dict[int, tuple[bool, Listener]] = {}
        self._shared: list[Listener] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.problems: dict[int, str] = {}
        self._refused = 0
        receiver.figures.listeners.append(self)

    @property
    def own(self) -> list[int]:
        """The ports of channels that are open."""
        return sorted(self._own)

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._seats.open

    @property
    def refused(self) -> int:
        """How many connections were refused, or did not come through the handshake of TLS."""
        return self._refused + sum(one.refused + one.failed for one in self._open_now())

    async def share(self, sock: socket.socket, *, tls: bool) -> Listener:
        """Listen on a port that all channels without their own share."""
        found = await self._listen(sock=sock, tls=tls)
        self._shared.append(found)
        return found

    async def adjust(self, wanted: Mapping[int, bool]) -> None:
        """Open the ports that channels have now, each for TLS or not, and close those that they have no more."""
        for port, (tls, listener) in list(self._own.items()):
            if wanted.get(port) is not tls:
                del self._own[port]
                log.info("port of a channel closed", port=port)
                self._close(listener)
        for port in list(self.problems.keys() - wanted.keys()):
            del self.problems[port]
        for port, tls in wanted.items():
            if port not in self._own:
                await self._open(port, tls=tls)

    async def close(self) -> None:
        """Close all ports; answers under way go out."""
        for listener in self._open_now():
            self._close(listener)
        self._own, self._shared = {}, []
        await asyncio.gather(*self._closing)

    def _open_now(self) -> list[Listener]:
        return [*self._shared, *(listener for _, listener in self._own.values())]

    def _close(self, listener: Listener) -> None:
        self._refused += listener.refused + listener.failed
        task = asyncio.create_task(listener.stop())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _open(self, port: int, *, tls: bool) -> None:
        try:
            self._require(port, tls=tls)
            self._own[port] = tls, await self._listen(port=port, door=port, tls=tls)
        except OSError as problem:
            if self.problems.get(port) != str(problem):
                log.error("a channel has no port", port=port, problem=str(problem))
            self.problems[port] = str(problem)
        else:
            self.problems.pop(port, None)
            log.info("port of a channel open", port=port, tls=tls)

    def _require(self, port: int, *, tls: bool) -> None:
        if not any(port in ports for ports in self._allowed):
            raise OSError(f"CONCORD_MLLP_CHANNEL_PORTS does not have {port}: {self._settings.mllp_channel_ports}")
        if tls and self._proof is None:
            raise OSError("it is for TLS, and CONCORD_MLLP_TLS_CERT is not set")

    async def _listen(
        self, *, tls: bool, sock: socket.socket | None = None, port: int = 0, door: int | None = None
    ) -> Listener:
        given = self._settings
        return await Listener.start(
            self._receiver.message,
            sock=sock,
            host=given.mllp_host,
            port=port,
            limits=limits_of(given),
            faults=self._receiver.fault,
            intake=self._receiver.large,
            tls=self._proof.context if tls and self._proof else None,
            seats=self._seats,
            door=door,
        )


def limits_of(settings: Settings) -> Limits:
    """Return the bounds of a connection."""
    return Limits(
        frame=settings.mllp_max_message_bytes,
        whole=settings.message_whole_bytes,
        idle=settings.mllp_idle_timeout,
        read=settings.mllp_read_timeout,
        handshake=settings.mllp_handshake_timeout,
    )


def proof_of(settings: Settings) -> Renewed | None:
    """Return the certificate that MLLP shows, or None. Raises OSError where it cannot be used."""
    if settings.mllp_tls_cert is None or settings.mllp_tls_key is None:
        return None
    return Renewed(settings.mllp_tls_cert, settings.mllp_tls_key, settings.mllp_tls_authorities)


@asynccontextmanager
async def mllp(concord: Concord) -> AsyncIterator[Ports]:
    """Give the ports, which follow the channels until the block ends. Raises OSError for a certificate of no use."""
    proof = proof_of(concord.settings)
    directory = await directory_of(concord)
    async with receiving(concord, directory) as receiver:
        ports = Ports(receiver, concord.settings, proof)
        following = asyncio.create_task(_following(ports, directory))
        try:
            yield ports
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await ports.close()


async def _following(ports: Ports, directory: Directory) -> None:
    while True:
        changed = directory.changed.is_set()
        directory.changed.clear()
        await ports.adjust(directory.ports())
        if changed:
            log.info("channels changed", own_ports=ports.own)
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await directory.changed.wait()
