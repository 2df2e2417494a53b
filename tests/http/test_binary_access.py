"""Who may read and write a Binary: its securityContext decides. http://hl7.org/fhir/R4/binary.html#security"""

from __future__ import annotations

from tests.fhir import Client
from tests.http.binaries import FHIR, PDF, sent


async def patient(fhir: Client) -> str:
    return f"Patient/{(await fhir.post('/Patient', json={'resourceType': 'Patient'})).json()['id']}"


async def test_the_security_context_decides_who_reads(fhir: Client) -> None:
    mine, theirs = await patient(fhir), await patient(fhir)
    document = {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": mine},
        "content": [{"attachment": {"url": "Binary/x"}}],
    }
    note = f"DocumentReference/{(await fhir.post('/DocumentReference', json=document)).json()['id']}"
    header = "X-Security-Context"
    own, by_note = await sent(fhir, **{header: mine}), await sent(fhir, **{header: note})
    foreign, open_one = await sent(fhir, **{header: theirs}), await sent(fhir)
    absent = await sent(fhir, **{header: "DocumentReference/none"})
    token = await fhir.token("patient/*.rs", patient=mine.partition("/")[2])
    seen = {own, by_note}
    for place in (own, by_note, foreign, open_one, absent):
        for headers in ({}, FHIR):
            for version in ("", "/_history/1"):
                status = (await fhir.get(place + version, token=token, headers=headers)).status_code
                assert status == (200 if place in seen else 404), (place, version)
    found = (await fhir.get("/Binary", token=token)).json()["entry"]
    assert {f"/Binary/{e['resource']['id']}" for e in found} == seen
    assert (await fhir.get(own, headers=FHIR)).json()["securityContext"] == {"reference": mine}
    # When the note is another patient's, so is what it guards.
    moved = (await fhir.get(f"/{note}")).json() | {"subject": {"reference": theirs}}
    assert (await fhir.put(f"/{note}", json=moved)).status_code == 200
    assert (await fhir.get(by_note, token=token)).status_code == 404


async def test_a_client_reads_what_no_context_guards_and_what_its_scopes_let_it_see(fhir: Client) -> None:
    who = await patient(fhir)
    guarded, open_one = await sent(fhir, **{"X-Security-Context": who}), await sent(fhir)
    narrow = await fhir.token("system/Binary.rs")
    assert (await fhir.get(open_one, token=narrow)).status_code == 200
    assert (await fhir.get(guarded, token=narrow)).status_code == 404
    wider = await fhir.token("system/Binary.rs system/Patient.r")
    assert (await fhir.get(guarded, token=wider)).status_code == 200
    assert (await fhir.get(guarded, token=await fhir.token("system/Patient.rs"))).status_code == 403


async def test_who_may_write(fhir: Client) -> None:
    mine, theirs = await patient(fhir), await patient(fhir)
    token = await fhir.token("patient/*.cruds", patient=mine.partition("/")[2])

    async def post(**headers: str) -> int:
        answer = await fhir.post(
            "/Binary", content=PDF, token=token, headers={"content-type": "application/pdf", **headers}
        )
        return answer.status_code

    assert await post(**{"X-Security-Context": mine}) == 201
    assert await post(**{"X-Security-Context": theirs}) == 403
    assert await post() == 403
    reader = await fhir.token("system/*.rs")
    kind = {"content-type": "application/pdf"}
    assert (await fhir.post("/Binary", content=PDF, token=reader, headers=kind)).status_code == 403
    assert (await fhir.post("/Binary", content=PDF, token=None, headers=kind)).status_code == 401
    place = await sent(fhir, **{"X-Security-Context": theirs})
    assert (await fhir.put(place, content=b"x", token=token, headers=kind)).status_code == 404
