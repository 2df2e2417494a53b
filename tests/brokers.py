"""Brokers from the system's packages as processes of the tests: started, killed, and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from kombu import Connection

from tests.needs import free_port, program


class Broker:
    """A broker of kind `redis` or `rabbitmq` that nobody else knows; `start` returns once it lets us in."""

    def __init__(self, kind: str, folder: Path, host: str = "127.0.0.1") -> None:
        """On another address than this machine's own, others are let in with the guest's password too."""
        self.kind, self.host, self.port = kind, host, free_port()
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._own = self._node() if kind == "rabbitmq" else {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return what CONCORD_BROKER_URL is to be."""
        return self.url_at(self.host, self.port)

    def url_at(self, host: str, port: int) -> str:
        """Return the URL for those who reach it by another address."""
        return f"redis://{host}:{port}/0" if self.kind == "redis" else f"amqp://guest:guest@{host}:{port}//"

    def start(self) -> None:
        """Start it and wait until it speaks: the port of RabbitMQ opens a while before."""
        self._process = subprocess.Popen(
            self._argv(),
            env=os.environ | self._own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while not self._speaks():
            assert time.monotonic() < end, f"{self.kind} does not speak"
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it with all that belongs to it, without a chance to clean up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it, and what it left running."""
        self._end(signal.SIGTERM)
        if self.kind == "rabbitmq":
            # Its port mapper is no child of it.
            subprocess.run(["epmd", "-kill"], env=os.environ | self._own, stdout=subprocess.DEVNULL, check=False)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _argv(self) -> list[str]:
        server = program(self.kind)
        assert server is not None
        if self.kind == "redis":
            where = ("--port", str(self.port), "--bind", self.host, "--protected-mode", "no")
            return [server, *where, "--save", "", "--dir", str(self._folder)]
        # Debian's program on the path only changes to its own user first.
        inner = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return [str(inner) if inner.exists() else server]

    def _node(self) -> dict[str, str]:
        """Return a node's own settings: ports, folders, cookie and port mapper are nobody else's."""
        config = self._folder / "rabbitmq.conf"
        config.write_text("loopback_users = none\n")
        own = {
            "HOME": self._folder,
            "RABBITMQ_NODENAME": f"concord{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_MNESIA_BASE": self._folder / "mnesia",
            "RABBITMQ_LOG_BASE": self._folder,
            "RABBITMQ_ENABLED_PLUGINS_FILE": self._folder / "plugins",
            "RABBITMQ_CONF_ENV_FILE": self._folder / "none",
            # Nothing of it is open to other machines.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": free_port(),
        }
        return {name: str(value) for name, value in own.items()}

    def _speaks(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.kind} ended with status {self._process.returncode}"
        if self.kind == "redis":
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)):
                return True
            return False
        connection = Connection(self.url, connect_timeout=2)
        try:
            connection.connect()
        except (OSError, *connection.connection_errors):
            return False
        connection.release()
        return True
