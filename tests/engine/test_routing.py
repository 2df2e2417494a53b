"""Whose message it is: certificate before address before MSH-3/4, one clinic never in the name of another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.contract import Certificate, Peer
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.engine.routing import AMBIGUOUS, ANOTHERS, UNKNOWN, UNPROVEN, Routes
from fhir_server.errors import Invalid
from fhir_server.operations.definition import read
from mappings.header import Header, header
from tests.engine.test_channel import msh

NORTH, SOUTH = Tenant(1, "north"), Tenant(2, "south")
PRINT = f"sha256:{'ab' * 32}"
LAB = Peer("10.0.0.7", 4000, tls=True, certificate=Certificate(PRINT, frozenset((PRINT, "dns:lab.example"))))
OTHER = Peer("10.0.0.7", 4000, tls=True, certificate=Certificate("sha256:cd", frozenset(("sha256:cd", "dns:x"))))
PLAIN, BARE = Peer("10.0.0.7", 4000), Peer("10.0.0.7", 4000, tls=True)
HEAD, FOREIGN = header(msh()), header(msh(app="ELSE"))


def channel(name: str, tenant: Tenant = NORTH, **more: Any) -> Channel:
    """Return a channel; sets are given as lists."""
    return Channel(name, tenant, **{k: frozenset(v) if isinstance(v, list) else v for k, v in more.items()})


def chosen(channels: list[Channel], peer: Peer, head: Header = HEAD) -> Any:
    """Return the name of the channel that takes the message, or why none does."""
    found = Routes(channels).over_mllp(head, peer)
    return found.name if isinstance(found, Channel) else found


BOUND = channel("bound", certificates=[PRINT], tls=True, senders=[("LAB", "NORTH")])
NAMED = channel("named", certificates=["dns:lab.example"], tls=True)
ANY = channel("any", SOUTH)


@pytest.mark.parametrize("bound", [BOUND, NAMED])
def test_a_channel_with_certificates_takes_messages_from_them_alone(bound: Channel) -> None:
    assert chosen([bound], LAB) == bound.name
    for peer in (OTHER, PLAIN, BARE):
        assert chosen([bound], peer) in (UNKNOWN, UNPROVEN)


def test_the_certificate_says_more_than_address_and_sender() -> None:
    near = channel("near", networks=(), senders=[("LAB", "NORTH")])
    assert chosen([near, NAMED], LAB) == "named"
    assert chosen([near, NAMED], PLAIN) == "near"


def test_a_certificate_sends_in_its_own_name_alone_even_where_somebody_takes_everything() -> None:
    assert chosen([BOUND, ANY], LAB, FOREIGN) == ANOTHERS
    assert chosen([BOUND, ANY], PLAIN, FOREIGN) == "any"


@pytest.mark.parametrize("peer", [OTHER, PLAIN, BARE])
def test_nobody_sends_in_the_name_of_a_certificate_without_it(peer: Peer) -> None:
    assert chosen([BOUND, channel("all")], peer) == UNPROVEN
    assert chosen([BOUND], peer) == UNPROVEN
    assert chosen([BOUND, channel("all")], peer, FOREIGN) == "all"


def test_a_channel_that_names_the_sender_itself_takes_it_without_a_certificate() -> None:
    assert chosen([BOUND, channel("old", senders=[("LAB", "NORTH")])], PLAIN) == "old"


def test_a_certificate_that_two_clinics_list_is_filed_under_neither() -> None:
    south = channel("south", SOUTH, certificates=["dns:lab.example"], tls=True, senders=[("LAB", "NORTH")])
    assert chosen([NAMED, south], LAB) == AMBIGUOUS
    assert chosen([NAMED, south], LAB, FOREIGN) == "named"


def test_one_clinic_may_tell_the_senders_behind_one_certificate_apart() -> None:
    other = channel("other", certificates=[PRINT], tls=True, senders=[("ELSE", "NORTH")])
    assert chosen([BOUND, other], LAB) == "bound"
    assert chosen([BOUND, other], LAB, FOREIGN) == "other"


def test_what_asks_for_tls_takes_nothing_in_plain_text() -> None:
    assert chosen([channel("private", tls=True)], PLAIN) == UNKNOWN
    assert chosen([channel("private", tls=True)], BARE) == "private"


def test_a_port_of_its_own_leads_to_its_channel_and_to_no_other() -> None:
    own = channel("own", port=2600)
    at_own = Peer("10.0.0.7", 4000, door=2600)
    assert chosen([own, ANY], at_own) == "own"
    assert chosen([own, ANY], PLAIN) == "any"
    assert chosen([ANY], at_own) == UNKNOWN


def test_what_is_posted_goes_to_channels_of_that_clinic_that_are_for_http() -> None:
    posted = channel("posted", via="http", clients=["lab-client"])
    routes = Routes([posted, channel("mllp"), channel("theirs", SOUTH, via="http")])
    client = Peer("10.0.0.7", 0, client="lab-client")
    assert routes.over_http(1, HEAD, client) is posted
    assert routes.over_http(1, HEAD, Peer("10.0.0.7", 0, client="somebody")) is UNKNOWN
    assert routes.over_http(3, HEAD, client) is UNKNOWN
    assert Routes([posted]).over_mllp(HEAD, PLAIN) is UNKNOWN


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"certificates": ["lab.example"]}, "Channel.source.certificates"),
        ({"certificates": ["sha256:12"]}, "Channel.source.certificates"),
        ({"certificates": ["dns:"]}, "Channel.source.certificates"),
        ({"port": 70000}, "Channel.source.port"),
        ({"port": 0}, "Channel.source.port"),
    ],
)
def test_a_source_that_cannot_be_is_refused_by_the_name_of_what_is_wrong(source: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(msgspec.json.encode({"name": "x", "source": {"kind": "mllp"} | source}))
    assert [issue.expression for issue in refused.value.issues] == [(named,)]
