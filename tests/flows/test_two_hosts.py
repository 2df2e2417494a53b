"""Two hosts with workers, and RabbitMQ: one is cut off in the middle of its work, and the other finishes it, once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.flows.hosts import Network, network
from tests.flows.serve import CONCORD
from tests.loss.parts import Part, World, until, world
from tests.loss.senders import Senders
from tests.loss.verdict import verdict
from tests.needs import needs

LOST_AFTER = 4
HOSTS = ("one", "other")
_DONE = b"select count(*) from inbox where state = 'done'"
_HELD = "select count(*) from pg_stat_activity where application_name = %s and xact_start is not null"


@pytest.fixture
def net() -> Iterator[Network]:
    made = network(HOSTS)
    yield made
    made.close()


def held(here: World, host: str) -> int:
    """Return how many transactions of a host the server has open."""
    with psycopg.connect(here.postgres.admin_dsn(), autocommit=True) as admin:
        row = admin.execute(_HELD, (host,)).fetchone()
    return row[0] if row else 0


def cut_off_at_work(here: World, net: Network, host: str) -> None:
    """Cut a host off at a moment at which it holds messages that it works on."""
    while True:
        until(lambda: held(here, host))
        net.cut(host)
        # Two looks: what was on its way to the server has arrived by the second.
        if held(here, host) and held(here, host):
            return
        net.mend(host)


def worker_at(here: World, net: Network, host: str) -> Part:
    """Start a worker on a host."""
    environ = here.environ | net.reached(host) | {"CONCORD_LOST_AFTER": str(LOST_AFTER)}
    return Part(net.argv(host, [CONCORD, "worker"]), environ, here.folder / f"{host}.log")


@needs("rabbitmq")
def test_what_a_host_that_is_cut_off_had_begun_the_other_finishes_once(net: Network, tmp_path: Path) -> None:
    with world(tmp_path, "rabbitmq", net.address, net.listens) as here:
        net.open(here.postgres, here.broker)
        listener = here.part("mllp", "mllp", "--mllp-port", str(here.port))
        workers = {host: worker_at(here, net, host) for host in HOSTS}
        try:
            senders = Senders(here.port, 600, 8, 4)
            senders.start()
            cut_off_at_work(here, net, "one")
            senders.join()
            until(lambda: here.count(_DONE) == 600)
            # Also a transaction that held no message is ended, while its host is still cut off.
            until(lambda: held(here, "one") == 0, 120)
            net.mend("one")
            assert workers["other"].stop() == 0
            more = Senders(here.port, 100, 4, 2, name="M")
            more.start()
            more.join()
            until(lambda: here.count(_DONE) == 700)
            assert workers["one"].stop() == 0, "it came back and went on"
        finally:
            for part in (listener, *workers.values()):
                part.kill()
        found = asyncio.run(verdict(here.postgres.server_dsn(), senders.letters + more.letters))
    assert found.clean, found
