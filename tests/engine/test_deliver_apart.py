"""TLS to receivers, answers that are none, what waits for a person, and acknowledgements as messages of their own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.errors import Invalid
from fhir_server.operations import deliveries
from fhir_server.operations.deliveries import set_secret
from fhir_server.store import delivery_log
from fhir_server.store.delivery_log import Wanted
from fhir_server.store.embedded import EmbeddedPostgres
from mappings.header import header
from tests.certificates import Authority
from tests.engine.receivers import receiving, saying
from tests.engine.sending import House, house_on, mllp
from tests.engine.world import adt, code, segments


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres) -> AsyncIterator[House]:
    async with house_on(postgres.server_dsn(fresh_name)) as found:
        yield found


async def test_a_receiver_over_tls_sees_our_certificate_and_we_see_that_it_is_the_right_one(
    house: House, tmp_path: Path
) -> None:
    ours = Authority(tmp_path)
    context = ours.server("127.0.0.1")
    context.load_verify_locations(ours.file)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = ours.issue("concord.example")
    tls = {"authorities": ours.file.read_text(), "certificate": certificate.read_text(), "key": "our-key"}
    async with receiving(ssl=context) as ehr:
        await set_secret(house.db, house.editor, "our-key", key.read_bytes())
        await house.apply(mllp(ehr.port, tls=tls), mllp(ehr.port, "other", tls=tls | {"name": "somebody.example"}))
        await house.take(adt("1"))
        await house.send()
        assert ehr.came == [adt("1")]
    assert [state for _, state, _ in await house.states()] == ["done", "queued"]
    assert "CERTIFICATE_VERIFY_FAILED" in ((await house.reasons())[1] or "")


async def test_without_its_secret_a_delivery_is_held_until_there_is_one(house: House, tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).issue("concord.example")
    tls = {"certificate": certificate.read_text(), "key": "our-key"}
    await house.apply(mllp(1, tls=tls))
    await house.take(adt("1"))
    await house.send()
    assert await house.reasons() == ["there is no secret 'our-key': concord secret set our-key"]
    assert await house.states() == [("1", "held", 0)]


@pytest.mark.parametrize("definition", [{"tls": {"key": "-----BEGIN"}}, {"host": "a b"}, {"msh": {"MSH-10": "x"}}])
async def test_a_wrong_definition_is_refused(house: House, definition: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"secret|host|MSH-"):
        await house.apply(mllp(1) | definition)


async def test_a_mute_receiver_and_one_that_answers_for_another_message_are_tried_again(house: House) -> None:
    async with receiving() as mute, receiving() as wrong:
        mute.answer = lambda message: None
        wrong.answer = lambda message: saying("AA")(message.replace(b"|1|P|", b"|other|P|"))
        await house.apply(mllp(mute.port, answer=0.3), mllp(wrong.port, "wrong", answer=0.3))
        await house.take(adt("1"))
        await house.send()
        assert await house.reasons() == [
            "no answer within 0.3 s",
            "no answer within 0.3 s; what came is no answer to this message",
        ]
        mute.answer = wrong.answer = saying("AA")
        await house.later(2)
        assert (mute.ids, wrong.ids) == (["1", "1"], ["1", "1"]), "under the same control id"
    assert [state for _, state, _ in await house.states()] == ["done", "done"]


async def test_an_answer_that_is_too_large_or_breaks_off_is_none(house: House) -> None:
    async with receiving() as large, receiving() as broken:
        large.answer = lambda message: saying("AA")(message) + b"X" * (2 << 20)
        broken.answer = lambda message: b""
        await house.apply(mllp(large.port), mllp(broken.port, "broken"))
        await house.take(adt("1"))
        await house.send()
    assert await house.reasons() == [
        "the answer is longer than 1048576 bytes",
        "connection closed before the answer",
    ]


@pytest.mark.parametrize(
    ("hold", "came"), [("delivery", ["a1", "a2", "b1"]), ("key", ["a1", "b1"]), ("destination", ["a1"])]
)
async def test_what_waits_for_a_held_delivery_is_as_its_definition_says(
    house: House, hold: str, came: list[str]
) -> None:
    async with receiving() as ehr:
        ehr.answer = lambda m: saying("AE")(m) if header(m).control_id == "a1" else saying("AA")(m)
        await house.apply(mllp(ehr.port, hold=hold))
        await house.take(adt("a1"), adt("a2"), adt("b1", "200"))
        await house.send()
        assert sorted(ehr.ids) == came
        ehr.answer = saying("AA")
        (held,) = await delivery_log.listed(house.db, house.tenant.id, Wanted(states=["held"]))
        await deliveries.act(house.db, house.editor, "retry", Wanted(ids=[held.id]))
        await house.send()
        assert sorted(ehr.ids) == ["a1", "a1", "a2", "b1"]
    assert {state for _, state, _ in await house.states()} == {"done"}


async def test_a_cancelled_delivery_is_never_sent_and_those_behind_it_are(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = saying("CE")
        await house.apply(mllp(ehr.port))
        await house.take(adt("a1"), adt("a2"))
        await house.send()
        (first,) = [r for r in await delivery_log.listed(house.db, house.tenant.id, Wanted()) if r.control_id == "a1"]
        ehr.answer = saying("AA")
        await deliveries.act(house.db, house.editor, "cancel", Wanted(ids=[first.id]))
        await house.later(2)
        assert ehr.ids == ["a1", "a2"]
    assert await house.states() == [("a1", "cancelled", 1), ("a2", "done", 1)]


async def test_what_is_tried_in_vain_too_often_is_held(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = saying("CE")
        await house.apply(mllp(ehr.port, retry={"attempts": 2, "base": 1, "most": 1}))
        await house.take(adt("1"))
        await house.send()
        await house.later(2)
    assert await house.reasons() == ["given up after 2 tries: the receiver answered CE"]


async def test_a_paused_destination_gets_nothing_until_it_is_resumed(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        there = deliveries.place(house.concord.service.hasher, house.tenant.id, "adt", "ehr")
        await deliveries.set_paused(house.db, house.editor, there, paused=True)
        await house.take(adt("1"))
        await house.send()
        assert ehr.came == []
        await deliveries.set_paused(house.db, house.editor, there, paused=False)
        await house.send()
        assert ehr.ids == ["1"]


async def test_what_was_sent_and_answered_is_kept_encrypted_and_shown(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = saying("AE", "103")
        await house.apply(mllp(ehr.port))
        await house.take(adt("1"))
        await house.send()
    (row,) = await delivery_log.listed(house.db, house.tenant.id, Wanted())
    _, (one,) = await deliveries.shown(house.db, house.editor, row.id)
    assert one.request == adt("1")
    assert code(one.answer) == "AE"
    sql = "select request, answer from delivery_attempt where tenant_id = %s"
    ((request, answer),) = await house.db.fetch(house.tenant.id, sql, (house.tenant.id,))
    assert b"Meier" not in request
    assert b"MSA" not in answer


def enhanced(control_id: str, wants: str = "AL|AL", **more: str) -> bytes:
    """Return an admission whose sender asks for both acknowledgements, or as `wants` says."""
    return adt(control_id, **more).replace(b"|P|2.5.1\r", f"|P|2.5.1|||{wants}\r".encode())


async def test_a_sender_that_asks_for_both_gets_the_application_acknowledgement_as_a_message(house: House) -> None:
    async with receiving() as his:
        his.answer = saying("CA")
        await house.apply(mllp(his.port, "acks"), ack={"to": "acks"})
        unmapped = b"MSH|^~\\&|HIS|NORTH|||20260301||ZZZ^Z01|bad|P|2.5|||AL|AL\r"
        quiet = enhanced("quiet", "AL|NE", patient="300")
        answers = await house.take(enhanced("good"), unmapped, quiet, adt("old", "200"))
        assert [code(answer) for answer in answers] == ["CA", "CA", "CA", "AA"]
        await house.send()
        told = {segments(m)["MSA"][2]: segments(m) for m in his.came}
        assert {name: found["MSA"][1] for name, found in told.items()} == {"good": "AA", "bad": "AE"}
        assert told["good"]["MSH"][14:16] == ["AL", "NE"]
        assert told["bad"]["ERR"][4] == "E"
    assert {state for _, state, _ in await house.states()} == {"done"}


async def test_a_delivery_that_brings_its_receiver_down_keeps_no_other_from_coming_through(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = lambda m: b"" if header(m).control_id == "poison" else saying("AA")(m)
        await house.apply(mllp(ehr.port, breaker={"failures": 1, "pause": 10, "most": 10}))
        await house.take(adt("poison", "1"), adt("a", "2"), adt("b", "3"))
        await house.send()
        assert ehr.ids == ["poison"]
        await house.later(11)
        assert ehr.ids[1:] == ["a", "b", "poison"]


async def test_a_destination_gets_as_many_at_one_time_as_it_takes(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = lambda m: saying("AA")(m) if len(ehr.peers) >= 3 else None
        await house.apply(mllp(ehr.port, connections=3, answer=30))
        await house.take(*(adt(str(n), str(n)) for n in range(3)))
        sends = asyncio.create_task(house.send())
        async with asyncio.timeout(60):
            while len(ehr.came) < 3:
                await asyncio.sleep(0.02)
        assert len(ehr.peers) == 3
        ehr.hang_up()
        await sends
        await house.later(2)
    assert {state for _, state, _ in await house.states()} == {"done"}


async def test_a_running_worker_hears_of_deliveries_and_sends_them(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        running = asyncio.create_task(house.deliverer.run())
        await house.take(adt("1"))
        async with asyncio.timeout(60):
            while await house.states() != [("1", "done", 1)]:
                await asyncio.sleep(0.02)
        house.deliverer.stop()
        await running
        assert ehr.ids == ["1"]
