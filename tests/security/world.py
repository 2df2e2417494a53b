"""Two tenants with one resource of each type for each of two patients, and whoever asks for them.

Both tenants use the same ids, so that whatever takes one tenant for the other shows the other's word.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from conformance.structures import STORABLE
from fhir_server.app import Concord, front
from fhir_server.context import Tenant
from fhir_server.smart.tokens import mint
from fhir_server.store import keys, tenants
from tests.security.specimens import of_patients, specimen

WORD = re.compile(rb"canary-(here|there)-(one|two|sealed|nobody)-([A-Za-z]+)")
_DATA = re.compile(rb'"data"\s*:\s*"([A-Za-z0-9+/=]+)"')
# Types of which clients may store nothing: the server makes them itself.
NOT_WRITTEN = frozenset(("AuditEvent",))
_OWNERS = ("one", "two", "sealed")
JSON = (b"content-type", b"application/fhir+json")


class Row(msgspec.Struct, frozen=True):
    """A resource of the world: in which tenant (`here` or `there`), whose (`one`, `two` or `nobody`), of which type.

    `sealed` is the first patient's too, and closed by a label. Of type `PatientSsn` is a number that not everybody may
    see who may see its patient.
    """

    place: str
    owner: str
    type: str

    @property
    def word(self) -> str:
        """The word that stands in it."""
        return f"canary-{self.place}-{self.owner}-{self.type}"

    @property
    def mark(self) -> str:
        """The tag that it is found by, which tells nothing."""
        return f"mark-{self.owner}-{self.type}"


class Sent(msgspec.Struct, frozen=True):
    """A request: its address after the server's base, or after the tenant's FHIR base where it does not begin so."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def words(self) -> set[Row]:
        """Return the resources whose word stands anywhere in the answer, contents in base64 included."""
        whole = self.body + str(self.headers).encode()
        for data in _DATA.findall(self.body):
            whole += base64.b64decode(data)
        return {Row(*(part.decode() for part in found)) for found in WORD.findall(whole)}


class Principal(msgspec.Struct, frozen=True):
    """Whoever asks: a token or none, and what it may see; `reads` tells that only its reads are tried.

    Of `every` requests one is sent, the same ones each time: enough for whom the wall refuses before a type matters.
    """

    name: str
    token: str | None
    sees: Callable[[Row], bool]
    reads: bool = False
    every: int = 1
    first: int = 0


def rows(place: str) -> list[Row]:
    """Return the resources of a tenant."""
    owned = of_patients()
    found = []
    for kind in STORABLE:
        if kind not in NOT_WRITTEN:
            owners = ("nobody",) if kind not in owned else ("one", "two") if kind == "Patient" else _OWNERS
            found += [Row(place, owner, kind) for owner in owners]
    return found


class World:
    """The tenants, filled; `ask` sends a request to the tenant `here`."""

    def __init__(self, concord: Concord) -> None:
        self.concord = concord
        self.front = front(concord)
        self.asked = 0

    async def fill(self) -> None:
        """Make the tenants and all that stands in them."""
        name = uuid.uuid4().hex[:10]
        self.here = await tenants.add(self.concord.db, f"here-{name}")
        self.there = await tenants.add(self.concord.db, f"there-{name}")
        for place, tenant in (("here", self.here), ("there", self.there)):
            token = await self.token(tenant, "system/*.cruds")
            made = await asyncio.gather(*(self._put(tenant, token, row) for row in rows(place)))
            assert [answer for answer in made if answer.status != 201] == []

    async def token(self, tenant: Tenant, scope: str, **more: Any) -> str:
        """Return a token of a tenant."""
        key = await keys.active(self.concord.db, tenant.id)
        given = {"subject": "matrix", "client": "matrix", "lifetime": timedelta(hours=1)} | more
        base = self.concord.base(tenant)
        return mint(key, base, self.concord.clock(), tenant=tenant, scope=scope, **given)

    async def ask(self, token: str | None, sent: Sent, tenant: Tenant | None = None) -> Answer:
        """Return the answer to a request at a tenant's FHIR base, or at the address that it names whole."""
        self.asked += 1
        events: list[Any] = [{"type": "http.request", "body": sent.body, "more_body": False}]
        parts: list[Any] = []

        async def receive() -> Any:
            return events.pop(0) if events else await asyncio.Event().wait()

        async def send(event: Any) -> None:
            parts.append(event)

        path = sent.path[1:] if sent.path.startswith("//") else self._path(sent.path, tenant)
        headers = [*sent.headers, (b"content-length", b"%d" % len(sent.body)), (b"host", b"localhost")]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        scope = {"type": "http", "method": sent.method, "path": path, "raw_path": path.encode(), "headers": headers}
        scope |= {"query_string": sent.query.encode(), "http_version": "1.1", "scheme": "http", "root_path": ""}
        scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}}
        await self.front(scope, receive, send)
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in parts[0]["headers"]}
        return Answer(parts[0]["status"], found, b"".join(part.get("body", b"") for part in parts[1:]))

    def _path(self, path: str, tenant: Tenant | None) -> str:
        return f"/{(tenant or self.here).name}/fhir{path}"

    async def _put(self, tenant: Tenant, token: str, row: Row) -> Answer:
        made = self.resource(row) | {"id": row.owner}
        sent = Sent("PUT", f"/{row.type}/{row.owner}", "", json.dumps(made).encode(), (JSON,))
        return await self.ask(token, sent, tenant)

    def resource(self, row: Row, word: str = "") -> dict[str, Any]:
        """Return what stands in the world for a row, or the same with another word, without an id."""
        owner, sealed = ("one", True) if row.owner == "sealed" else (row.owner, False)
        registry = self.concord.service.registry
        return specimen(registry, row.type, owner, word or row.word, row.mark, sealed=sealed)

    async def fingerprint(self) -> list[Any]:
        """Return what changes with any write to a resource of either tenant."""
        sql = "select count(*), sum(version), sum(hashtext(id || version)) from resource where tenant_id = %s"
        places = (self.here, self.there)
        return [await self.concord.db.fetch(place.id, sql, (place.id,)) for place in places]
