"""Two patients of a tenant, the second of whom the first must learn nothing of."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec

from tests.fhir import Client

WORD = "Quetzalcoatl"
SYSTEM = "http://secret.example"
CODE = {"coding": [{"system": "http://code.example", "code": "x"}]}
# What differs from answer to answer anyway: ids of bundles and of requests, and moments.
_CHANGING = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z")
Json = dict[str, Any]
_FORM = {"content-type": "application/x-www-form-urlencoded"}


class Pair(msgspec.Struct, frozen=True):
    """A client of a tenant with `mine`, the asking patient, and `theirs`; `token` is the patient's."""

    fhir: Client
    token: str

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """Send a GET as the patient."""
        return await self.fhir.get(path, token=self.token, **more)

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send another request as the patient."""
        return await self.fhir.request(method, path, token=self.token, **more)

    async def form(self, path: str, query: str) -> httpx.Response:
        """Send a search as a form as the patient."""
        return await self.send("POST", f"{path}/_search", content=query, headers=_FORM)

    async def found(self, path: str) -> list[str]:
        """Return the references of all that a search shows the patient, matches and includes."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        assert WORD not in whole(answer)
        return sorted(
            f"{e['resource']['resourceType']}/{e['resource']['id']}"
            for e in answer.json().get("entry", [])
            if e["resource"]["resourceType"] != "OperationOutcome"
        )


def ref(target: str) -> dict[str, str]:
    """Return a reference."""
    return {"reference": target}


def result(name: str, patient: str, **more: Any) -> Json:
    """Return an Observation of a patient."""
    made = {"resourceType": "Observation", "id": name, "status": "final", "code": CODE}
    return made | {"subject": ref(f"Patient/{patient}")} | more


async def put(client: Client, *resources: Json) -> None:
    """Store resources under their ids."""
    for resource in resources:
        answer = await client.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
        assert answer.status_code in (200, 201), answer.text


async def pair(fhir: Client, scope: str = "patient/*.cruds") -> Pair:
    """Store both patients; every text of the other's is WORD, and both share a doctor and a clinic."""
    tag = {"tag": [{"system": SYSTEM, "code": WORD}]}
    marked = {"meta": tag, "identifier": [{"system": SYSTEM, "value": WORD}]}
    await put(fhir, {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "House"}]})
    await put(fhir, {"resourceType": "Organization", "id": "clinic", "name": "Clinic"})
    clinic = {"managingOrganization": ref("Organization/clinic")}
    theirs = {"resourceType": "Patient", "id": "theirs", "birthDate": "1953-07-04", **marked, **clinic}
    await put(fhir, theirs | {"name": [{"family": WORD, "given": [WORD]}], "link": []} | {"link": [_link("none")]})
    mine = {"resourceType": "Patient", "id": "mine", "name": [{"family": "Mine"}], "birthDate": "1980-01-01"}
    await put(fhir, mine | clinic)
    visit = {"resourceType": "Encounter", "id": "visit", "status": "finished", "class": {"code": "AMB"}}
    await put(fhir, visit | {"subject": ref("Patient/theirs")} | marked)
    doc = {"performer": [ref("Practitioner/doc")]}
    await put(
        fhir, result("their-result", "theirs", encounter=ref("Encounter/visit"), valueString=WORD, **marked, **doc)
    )
    await put(fhir, result("my-result", "mine", **doc))
    return Pair(fhir, await fhir.token(scope, patient="mine", subject="a patient"))


def _link(name: str) -> Json:
    return {"other": ref(f"Patient/{name}"), "type": "seealso"}


def whole(answer: httpx.Response) -> str:
    """Return all that came back: body and headers."""
    return answer.text + str(answer.headers)


def alike(one: httpx.Response, two: httpx.Response, *names: str) -> None:
    """Hold two answers to be the same but for the names that their requests differ in."""

    def plain(answer: httpx.Response) -> tuple[int, str, list[str]]:
        text = _CHANGING.sub("", answer.text)
        for name in names:
            text = text.replace(name, "NAME")
        return answer.status_code, text, sorted(answer.headers)

    assert plain(one) == plain(two)
