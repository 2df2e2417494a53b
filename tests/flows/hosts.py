"""Hosts that reach the database and the broker over a network that can be cut: namespaces, or else cutting proxies."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from random import SystemRandom
from typing import Protocol

import psycopg

from fhir_server.store.embedded import PORT, SERVER_ROLE, EmbeddedPostgres
from tests.brokers import Broker

PASSWORD = "only of this test"


class Network(Protocol):
    """A network of a machine with PostgreSQL and a broker, and of hosts by name."""

    address: str
    listens: dict[str, str]

    def open(self, postgres: EmbeddedPostgres, broker: Broker) -> None:
        """Let the hosts in."""

    def reached(self, host: str) -> dict[str, str]:
        """Return the settings by which a host reaches both."""

    def argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a program on a host."""

    def cut(self, host: str) -> None:
        """Let nothing through any more, without a word to either side."""

    def mend(self, host: str) -> None:
        """Let everything through again."""

    def close(self) -> None:
        """Take it all down."""


def ip(*words: str) -> None:
    """Run ip(8). Raises CalledProcessError where that is not allowed."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_are_allowed() -> bool:
    """Say whether we may make network namespaces and join them by a bridge."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    probe = Namespaces(["probe"])
    try:
        probe.make()
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        probe.close()
    return True


class Namespaces:
    """Each host is a network namespace, joined to the others by a bridge; its cable can be pulled.

    The bridge's address is of this machine alone: no other is on the bridge.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        random = SystemRandom()
        self._hosts = list(hosts)
        # Addresses kept for such networks (RFC 2544), which no machine's own network has.
        self._net = f"198.{random.randrange(18, 20)}.{random.randrange(256)}"
        self._name = f"cc{random.randrange(10**6):06}"
        self.address = f"{self._net}.1"
        self.listens = {"listen_addresses": self.address}

    def make(self) -> None:
        """Make the bridge and the hosts. Raises CalledProcessError where that is not allowed."""
        ip("link", "add", self._name, "type", "bridge")
        ip("address", "add", f"{self.address}/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        for number, host in enumerate(self._hosts):
            space, cable = self._space(host), self._cable(host)
            ip("netns", "add", space)
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", cable, "master", self._name, "up")
            ip("-n", space, "address", "add", f"{self._net}.{number + 2}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", space, "link", "set", device, "up")

    def open(self, postgres: EmbeddedPostgres, broker: Broker) -> None:
        """Let the server's role in by password from the bridge."""
        with (postgres.cluster / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all {SERVER_ROLE} {self._net}.0/24 scram-sha-256\n")
        with psycopg.connect(postgres.admin_dsn(), autocommit=True) as admin:
            admin.execute(f"alter role {SERVER_ROLE} password '{PASSWORD}'".encode())
            admin.execute("select pg_reload_conf()")
        self._broker = broker.url

    def reached(self, host: str) -> dict[str, str]:
        """Return the same addresses for every host."""
        named = f"application_name={host} user={SERVER_ROLE} password='{PASSWORD}' dbname=concord"
        return {
            "CONCORD_DATABASE_URL": f"host={self.address} port={PORT} {named}",
            "CONCORD_BROKER_URL": self._broker,
        }

    def argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the command that enters the namespace and becomes the program."""
        return ["ip", "netns", "exec", self._space(host), *argv]

    def cut(self, host: str) -> None:
        """Pull the cable."""
        ip("link", "set", self._cable(host), "down")

    def mend(self, host: str) -> None:
        """Put the cable in again."""
        ip("link", "set", self._cable(host), "up")

    def close(self) -> None:
        """Remove hosts, cables and bridge, as far as they are there."""
        for host in self._hosts:
            with suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", self._space(host))
        with suppress(OSError, subprocess.CalledProcessError):
            ip("link", "delete", self._name)

    def _space(self, host: str) -> str:
        return f"{self._name}-{host}"

    def _cable(self, host: str) -> str:
        return f"{self._name}-{self._hosts.index(host)}"


class Proxies:
    """Each host has a proxy of its own before both; cut, it reads and forwards nothing, and closes nothing."""

    address = "127.0.0.1"

    def __init__(self, hosts: Sequence[str]) -> None:
        self.listens: dict[str, str] = {}
        self._flows = {host: threading.Event() for host in hosts}
        self._ports: dict[tuple[str, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._stopped: asyncio.Event
        self._thread = threading.Thread(target=self._main, name="proxies")

    def open(self, postgres: EmbeddedPostgres, broker: Broker) -> None:
        """Listen for each host; the database's own process knows the proxy for us."""
        self._socket = str(postgres.connection.socket_dir / f".s.PGSQL.{PORT}")
        self._broker = broker
        for flow in self._flows.values():
            flow.set()
        self._thread.start()
        assert self._ready.wait(30)

    def reached(self, host: str) -> dict[str, str]:
        """Return the host's own ports."""
        named = f"application_name={host} user={SERVER_ROLE} dbname=concord"
        return {
            "CONCORD_DATABASE_URL": f"host=127.0.0.1 port={self._ports[host, 'postgres']} {named}",
            "CONCORD_BROKER_URL": self._broker.url_at("127.0.0.1", self._ports[host, "broker"]),
        }

    def argv(self, host: str, argv: Sequence[str]) -> list[str]:
        """Return the program as it is: its network is its settings."""
        return list(argv)

    def cut(self, host: str) -> None:
        """Forward nothing any more."""
        self._flows[host].clear()

    def mend(self, host: str) -> None:
        """Forward what waits, and what comes."""
        self._flows[host].set()

    def close(self) -> None:
        """End every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(30)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        servers = {}
        for key in product(self._flows, ("postgres", "broker")):
            servers[key] = await asyncio.start_server(partial(self._connected, *key), "127.0.0.1", 0)
        self._ports = {key: server.sockets[0].getsockname()[1] for key, server in servers.items()}
        self._ready.set()
        await self._stopped.wait()
        for server in servers.values():
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, host: str, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(self._forward(name, self._flows[host], reader, writer)))

    async def _forward(
        self, name: str, flow: threading.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to the other side and copy both ways until one of them ends."""
        while not flow.is_set():
            await asyncio.sleep(0.02)
        if name == "postgres":
            other = await asyncio.open_unix_connection(self._socket)
        else:
            other = await asyncio.open_connection(self._broker.host, self._broker.port)
        ways = [asyncio.create_task(_copy(flow, reader, other[1])), asyncio.create_task(_copy(flow, other[0], writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, other[1]):
                end.close()


async def _copy(flow: threading.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy what comes; while it is cut, what has come waits, and the end of a stream does too."""
    with suppress(OSError):
        while True:
            chunk = await reader.read(65536)
            while not flow.is_set():
                await asyncio.sleep(0.02)
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()


def network(hosts: Sequence[str]) -> Network:
    """Return namespaces where they are allowed, otherwise proxies."""
    if not namespaces_are_allowed():
        return Proxies(hosts)
    made = Namespaces(hosts)
    made.make()
    return made
