"""A channel that fetches from another FHIR server: a second Concord with a database of its own, on a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from fhir_server.app import messages, what_if
from fhir_server.app.pollers import poller_of
from fhir_server.engine.directory import Directory, trial
from fhir_server.engine.figures import Figures
from fhir_server.engine.polling import Poller, Trouble
from fhir_server.operations.channels import Editor, apply
from fhir_server.smart.assertion import require_jwks
from fhir_server.store import clients, keys, polls, secrets, tenants
from fhir_server.store import messages as stored_messages
from fhir_server.store.clients import Client as Registered
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.polls import Hold
from mappings.from_fhir import local_id
from tests.fhir import Client, running

SEARCHES = ["Patient", "Encounter", "Condition", "Observation?category=laboratory"]
LAB = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}]


class World:
    """Our clinic with a channel that fetches from theirs."""

    def __init__(self, ours: Client, theirs: Client) -> None:
        self.ours, self.theirs = ours, theirs
        self.db = ours.concord.db
        self.hold = Hold(ours.tenant_id, "other", polls.UUID(int=ours.tenant_id))
        self.pollers: list[Poller] = []

    async def save(self, **source: Any) -> None:
        """Have the channel work as given."""
        signing = {"kind": "backend", "client_id": "ours", "scope": "system/*.rs"}
        given = {"kind": "fhir", "url": self.theirs.base, "searches": SEARCHES, "sign_in": signing, **source}
        who = Editor(self.ours.tenant_id, "ada", "tests", self.ours.clock())
        await apply(self.db, who, [msgspec.json.encode({"name": "other", "source": given})])

    async def poller(self) -> Poller:
        directory = Directory(self.db)
        await directory.look()
        channel = directory.polled()[self.ours.tenant_id, "other"]
        concord = self.ours.concord
        made = await poller_of(concord, channel, self.hold, Figures(self.db, concord.clock), None)
        self.pollers.append(made)
        return made

    async def look(self) -> int:
        """Look as the process does that holds the channel, and work what came."""
        how_far = await polls.hold(self.db, self.hold, 60)
        taken = await (await self.poller()).look(how_far)
        await messages(self.ours.concord).drain()
        return taken

    async def store(self, type_: str, id_: str, **more: Any) -> None:
        """Store a resource at theirs."""
        answer = await self.theirs.put(f"/{type_}/{id_}", json={"resourceType": type_, "id": id_, **more})
        assert answer.status_code in (200, 201), answer.text

    async def here(self, type_: str, id_: str) -> dict[str, Any]:
        """Return what came of a resource of theirs."""
        answer = await self.ours.get(f"/{type_}/{local_id(f'{self.theirs.base}/{type_}/{id_}')}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def states(self) -> list[str]:
        return [one.state for one in await stored_messages.listed(self.db, self.ours.tenant_id, limit=1000)]


@pytest.fixture
async def world(server_dsn: str, fresh_name: str, postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    async with (
        running(postgres.server_dsn(fresh_name), rate_per_address=0, rate_per_client=0, rate_per_user=0) as (
            other,
            their_clock,
        ),
        running(server_dsn, outgoing_allow="127.0.0.1") as (concord, clock),
        httpx.AsyncClient(timeout=30) as http,
    ):
        theirs = Client(other, their_clock, await tenants.add(other.db, "theirs"), http)
        name = f"ours-{uuid4().hex[:12]}"
        ours = Client(concord, clock, await tenants.add(concord.db, name), http)
        key = await keys.active(concord.db, ours.tenant_id, keys.ASSERTION_ALGORITHM)
        public = {n: v for n, v in key.jwk.items() if n != "d"}
        jwks = require_jwks({"keys": [public]})
        await clients.add(other.db, theirs.tenant_id, Registered("ours", "Ours", "system/*.rs", jwks, clock()))
        made = World(ours, theirs)
        await made.save()
        yield made
        for poller in made.pollers:
            await poller.close()


async def test_what_changed_is_fetched_once_and_written_by_where_it_came_from(world: World) -> None:
    await world.store("Patient", "p1", birthDate="1984-03-17", identifier=[{"system": "urn:mrn", "value": "8812"}])
    assert await world.look() == 1
    found = await world.here("Patient", "p1")
    assert found["birthDate"] == "1984-03-17"
    assert found["meta"]["source"] == f"{world.theirs.base}/Patient/p1"
    assert found["meta"]["versionId"] == "1"
    assert await world.look() == 0
    await world.store("Patient", "p1", birthDate="1984-03-18")
    assert await world.look() == 1
    found = await world.here("Patient", "p1")
    assert (found["birthDate"], "identifier" in found, found["meta"]["versionId"]) == ("1984-03-18", False, "2")
    assert await world.states() == ["done", "done"]
    assert len((await world.ours.get("/Patient?_source=" + found["meta"]["source"])).json()["entry"]) == 1


async def test_references_hold_whichever_comes_first_also_in_a_circle(world: World) -> None:
    class_ = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}
    encounter = {"status": "finished", "class": class_, "subject": {"reference": "Patient/p1"}}
    await world.store("Encounter", "e1", **encounter)
    await world.store("Condition", "c1", subject={"reference": "Patient/p1"}, encounter={"reference": "Encounter/e1"})
    diagnosis = [{"condition": {"reference": f"{world.theirs.base}/Condition/c1"}}]
    doctor = [{"individual": {"reference": "Practitioner/9"}}]
    await world.store("Encounter", "e1", **encounter, diagnosis=diagnosis, participant=doctor)
    assert await world.look() == 2
    await world.store("Patient", "p1")
    assert await world.look() == 1
    patient, met, problem = [
        await world.here(*name) for name in (("Patient", "p1"), ("Encounter", "e1"), ("Condition", "c1"))
    ]
    assert met["subject"]["reference"] == problem["subject"]["reference"] == f"Patient/{patient['id']}"
    assert met["diagnosis"][0]["condition"]["reference"] == f"Condition/{problem['id']}"
    assert problem["encounter"]["reference"] == f"Encounter/{met['id']}"
    # What is not fetched is referred to where it is.
    assert met["participant"][0]["individual"]["reference"] == f"{world.theirs.base}/Practitioner/9"
    found = (await world.ours.get(f"/Condition?patient=Patient/{patient['id']}")).json()
    assert [entry["resource"]["id"] for entry in found["entry"]] == [problem["id"]]


async def test_what_is_somebody_elses_is_left_as_it_is(world: World) -> None:
    mine = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "8812"}], "gender": "female"}
    made = (await world.ours.post("/Patient", json=mine)).json()
    await world.store("Patient", "p1", identifier=mine["identifier"], gender="male")
    await world.store("Patient", made["id"], gender="male")
    assert await world.look() == 2
    assert (await world.ours.get(f"/Patient/{made['id']}")).json() == made
    # Somebody has taken the very id: it is theirs, and the message waits for a person.
    place = local_id(f"{world.theirs.base}/Patient/p2")
    own = (await world.ours.put(f"/Patient/{place}", json={"resourceType": "Patient", "id": place})).json()
    await world.save(every=1)
    await world.store("Patient", "p2", gender="male")
    assert await world.look() == 1
    assert (await world.ours.get(f"/Patient/{place}")).json() == own
    assert "done" in await world.states()
    assert {"received", "buried"} & set(await world.states())


async def test_the_other_server_cannot_pass_for_a_third(world: World) -> None:
    third = "https://third.example/fhir/Patient/1"
    await world.store("Patient", "p1", meta={"source": third, "tag": [{"system": "urn:t", "code": "kept"}]})
    await world.look()
    meta = (await world.here("Patient", "p1"))["meta"]
    assert (meta["source"], meta["tag"][0]["code"]) == (f"{world.theirs.base}/Patient/p1", "kept")


async def test_decimals_keep_their_digits_and_searches_their_parameters(world: World) -> None:
    code = {"text": "Hb"}
    for id_, category in (("o1", LAB), ("o2", [])):
        text = json.dumps({"resourceType": "Observation", "id": id_, "status": "final", "code": code})
        more = f', "category": {json.dumps(category)}' if category else ""
        body = text[:-1] + more + ', "valueQuantity": {"value": 11.20}}'
        answer = await world.theirs.put(
            f"/Observation/{id_}", content=body, headers={"content-type": "application/fhir+json"}
        )
        assert answer.status_code == 201
    assert await world.look() == 1
    place = local_id(f"{world.theirs.base}/Observation/o1")
    assert '"value":11.20' in (await world.ours.get(f"/Observation/{place}")).text.replace(" ", "")


async def test_many_pages_are_gone_through_and_a_crash_in_between_costs_nothing(world: World) -> None:
    entry = [
        {"resource": {"resourceType": "Patient", "id": f"p{n}"}, "request": {"method": "PUT", "url": f"Patient/p{n}"}}
        for n in range(25)
    ]
    answer = await world.theirs.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entry})
    assert answer.status_code == 200
    await world.save(count=4, searches=["Patient"])
    poller = await world.poller()
    await polls.hold(world.db, world.hold, 60)
    pages = 0
    real = poller._client.page  # type: ignore[attr-defined]

    async def dies(url: str) -> Any:
        nonlocal pages
        pages += 1
        if pages == 3:
            raise RuntimeError("the process ends here")
        return await real(url)

    poller._client.page = dies  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        await poller.look({})
    how_far = await polls.hold(world.db, world.hold, 60)
    assert how_far is not None
    assert how_far["searches"]["Patient"]["since"] is not None, "a server that sorts need not be asked for all again"
    assert await world.look() == 25 - 8
    assert len(await world.states()) == 25
    assert set(await world.states()) == {"done"}


async def test_what_becomes_visible_late_is_not_missed(world: World) -> None:
    await world.store("Patient", "p1")
    assert await world.look() == 1
    # Committed after p1 was seen, with a moment before it.
    world.theirs.clock.move(timedelta(seconds=-20))
    await world.store("Patient", "p2")
    assert await world.look() == 1
    assert (await world.here("Patient", "p2"))["id"]


async def test_an_older_version_that_is_replayed_changes_nothing(world: World) -> None:
    await world.store("Patient", "p1", gender="male")
    await world.look()
    world.theirs.clock.move(timedelta(seconds=5))
    await world.store("Patient", "p1", gender="female")
    await world.look()
    [_, oldest] = await stored_messages.listed(world.db, world.ours.tenant_id)
    assert await stored_messages.replay(world.db, world.ours.tenant_id, [oldest.id]) == [oldest.id]
    await messages(world.ours.concord).drain()
    assert (await world.here("Patient", "p1"))["gender"] == "female"


async def test_messages_are_listed_with_their_numbers_and_hold_what_was_fetched(world: World) -> None:
    await world.store("Patient", "p1", gender="male")
    await world.look()
    [one] = await stored_messages.listed(world.db, world.ours.tenant_id)
    assert (one.channel, one.message_type, one.control_id) == ("other", "Patient", "Patient/p1/_history/1")
    shown = await stored_messages.show(world.db, world.ours.tenant_id, one.id)
    assert shown is not None
    assert json.loads(shown.raw)["gender"] == "male"


async def test_why_a_server_cannot_be_asked_is_told(world: World) -> None:
    await world.save(sign_in=None)
    with pytest.raises(Trouble, match="Patient: the server answered 401"):
        await world.look()
    await world.save(sign_in={"kind": "backend", "client_id": "nobody", "scope": "system/*.rs"})
    with pytest.raises(Trouble, match="no token: invalid_client"):
        await world.look()
    await world.save(sign_in={"kind": "basic", "user": "u", "secret": "missing"})
    with pytest.raises(Trouble, match="no secret 'missing'"):
        await world.look()
    await world.save(url="http://127.0.0.1:1/fhir")
    with pytest.raises(Trouble, match="did not answer"):
        await world.look()


async def test_a_secret_is_read_by_its_name_when_it_is_needed(world: World) -> None:
    await world.store("Patient", "p1")
    await world.save(sign_in={"kind": "bearer", "secret": "their-token"})
    with pytest.raises(Trouble, match="no secret 'their-token'"):
        await world.look()
    async with world.db.transaction(world.ours.tenant_id) as tx:
        await tx.fetch("select 1")
        value = (await world.theirs.token("system/*.rs")).encode()
        secrets.put(tx, "their-token", value, "ada", world.ours.clock())
    assert await world.look() == 1


async def test_a_server_of_the_private_network_needs_the_operators_leave(world: World) -> None:
    await world.save(url="https://localhost:1/fhir")
    with pytest.raises(Trouble, match="not a host of the public internet"):
        await world.look()
    await world.save(url="http://other.example/fhir")
    with pytest.raises(Trouble, match="plain http"):
        await world.look()


async def test_a_search_that_is_refused_keeps_no_other_waiting(world: World) -> None:
    await world.store("Patient", "p1")
    await world.save(searches=["Patient?nonsense=1", "Observation?category=laboratory", "Patient"])
    with pytest.raises(Trouble, match=r"^Patient: the server answered 400$"):
        await world.look()
    await messages(world.ours.concord).drain()
    assert (await world.here("Patient", "p1"))["id"]


async def test_what_was_fetched_can_be_tried_by_another_definition(world: World) -> None:
    await world.store("Observation", "o1", status="final", code={"text": "Hb"}, category=LAB,
                      subject={"reference": "Patient/p1"})  # fmt: skip
    await world.look()
    directory = Directory(world.db)
    [one] = await stored_messages.listed(world.db, world.ours.tenant_id)
    tenant = world.ours.tenant_as_named()
    source = {"kind": "fhir", "url": world.theirs.base, "searches": ["Observation"]}
    other = trial(tenant, msgspec.json.encode({"name": "other", "source": source}))
    found = [d async for d in what_if(world.ours.concord, tenant).differences([one.id], directory.named, other)]
    [change] = found[0].resources["Observation o1"]
    assert (change.path, change.after) == ("Observation.subject.reference", f"{world.theirs.base}/Patient/p1")
