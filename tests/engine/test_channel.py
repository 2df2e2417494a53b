"""What a channel takes is decided by the MSH alone, and every refusal names its field and code."""

from __future__ import annotations

import pytest

from adapters.contract import Peer
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel, always, catch_all
from mappings.header import header

LAB = Channel(
    "lab",
    Tenant(1, "demo"),
    senders=frozenset({("LAB", "NORTH")}),
    types=frozenset({"ORU^R01", "ADT"}),
    processing_ids=frozenset({"P"}),
    versions=("2.5", "2.3"),
)


def msh(app: str = "LAB", kind: str = "ORU^R01", processing: str = "P", version: str = "2.5.1") -> bytes:
    return f"MSH|^~\\&|{app}|NORTH|EHR|X|20260101||{kind}|1|{processing}|{version}\r".encode()


@pytest.mark.parametrize("data", [msh(), msh(kind="ADT^A08"), msh(kind="ADT"), msh(version="2.3")])
def test_what_the_channel_names_is_taken(data: bytes) -> None:
    assert LAB.refusals(header(data)) == []


@pytest.mark.parametrize(
    ("data", "location", "code"),
    [
        (msh(app="ELSE"), "MSH-3", "204"),
        (msh(kind="MDM^T02"), "MSH-9.1", "200"),
        (msh(kind="ORU^R30"), "MSH-9.2", "201"),
        (msh(processing="T"), "MSH-11", "202"),
        (msh(processing=""), "MSH-11", "202"),
        (msh(version="2.8"), "MSH-12", "203"),
        (msh(version="2.51"), "MSH-12", "203"),
    ],
)
def test_what_it_does_not_name_is_refused_with_field_and_code(data: bytes, location: str, code: str) -> None:
    assert [(e.location, e.code) for e in LAB.refusals(header(data))] == [(location, code)]


def test_every_reason_is_told_at_once() -> None:
    found = LAB.refusals(header(msh(app="X", kind="MDM^T02", processing="D", version="3")))
    assert [e.code for e in found] == ["204", "200", "202", "203"]


def test_a_catch_all_channel_takes_every_message_with_an_msh() -> None:
    channel = catch_all(Tenant(1, "demo"))
    assert channel.refusals(header(msh(app="", kind="ZZZ^Z99", processing="", version=""))) == []


@pytest.mark.parametrize("data", [b"", b"hello", b"PID|1\rMSH|", b"\xff\xfe\x00", b"MSH|^~\\&|A|B\r"])
def test_what_has_no_usable_msh_is_refused_even_by_a_catch_all_channel(data: bytes) -> None:
    assert catch_all(Tenant(1, "demo")).refusals(header(data)) != []


def test_the_route_of_a_single_channel_leads_to_it() -> None:
    assert always(LAB)(header(msh()), Peer("h", 1)) is LAB
