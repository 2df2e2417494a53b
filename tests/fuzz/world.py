"""A server in this process without a socket, its tenants, and what must hold of every answer it gives."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any
from xml.etree import ElementTree

import msgspec
import structlog

from fhir_server.app import Concord, front
from fhir_server.context import Tenant
from fhir_server.http.front import Front
from fhir_server.smart.tokens import mint
from fhir_server.store import keys, tenants
from tests.fuzz.records import Json, records
from tests.fuzz.requests import Maker, Sent

SLOW = 60.0
_PRINT = "select count(*), coalesce(sum(version), 0), coalesce(sum(hashtext(encode(body, 'hex'))), 0) from resource"


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Finding(msgspec.Struct, frozen=True):
    """A request whose answer broke a rule; `kind` is the same for the same fault."""

    kind: str
    sent: Sent
    told: str

    def __str__(self) -> str:
        head = "".join(f"\n  {name.decode()}: {value.decode('latin-1')[:120]}" for name, value in self.sent.headers)
        line = f"{self.sent.method} {self.sent.path}?{self.sent.query}"
        return f"{self.kind}\n {line}{head}\n  {self.sent.body[:3000]!r}\n {self.told[:3000]}"


class World:
    """Three tenants, the third of which nobody may see.

    Requests go to the first and, by patients' tokens alone, to the second.
    """

    def __init__(self, concord: Concord) -> None:
        self.concord = concord
        self.front: Front = front(concord)
        self.findings: dict[str, Finding] = {}
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self._faults: dict[str, str] = {}
        self._words: dict[str, tuple[str, str]] = {}

    async def prepare(self, name: str) -> None:
        """Fill the tenants."""
        self.wide = await self._tenant(f"{name}-a", "Aardvark")
        self.walled = await self._tenant(f"{name}-b", "Bumblebee")
        self.hidden = await self._tenant(f"{name}-c", "Chinchilla")
        wide = await self._tokens(
            self.wide, {"all": "system/*.cruds", "read": "system/*.rs", "few": "system/Patient.rs"}
        )
        wide["mine"] = await self._token(self.wide, "patient/*.cruds", patient="1")
        wide["old"] = await self._token(self.wide, "system/*.cruds", lifetime=timedelta(seconds=-5))
        wide["other"] = await self._token(self.hidden, "system/*.cruds")
        wide |= {f"all {n}": wide["all"] for n in range(9)}  # most often one that may
        walled = {"mine": await self._token(self.walled, "patient/*.cruds", patient="1")}
        walled["mixed"] = await self._token(self.walled, "patient/*.ru system/Practitioner.rs", patient="1")
        self.tokens = {self.wide.name: wide, self.walled.name: walled}
        self._before = await self._fingerprint()

    async def run(self, seed: int, count: int, until: float | None = None) -> None:
        """Send `count` requests, or all that go until a moment of the monotonic clock."""
        random = Random(seed)
        makers = {name: Maker(random, self.concord.service.registry, tokens) for name, tokens in self.tokens.items()}
        done = 0
        while done < count and (until is None or time.monotonic() < until):
            tenant = self.wide if random.random() < 0.7 else self.walled
            maker = makers[tenant.name]
            await self._one(tenant, maker, maker.request(), leaves=random.random() < 0.01)
            if random.random() < 0.02:
                await self._put(tenant, random.choice(records("@")))
            done += 1

    async def settle(self) -> None:
        """Ask whether the server is well after all of it, and whether the hidden tenant is what it was."""
        sent = Sent("GET", "/Patient", "_count=1", (_bearer(self.tokens[self.wide.name]["all"]),), b"")
        for _ in range(20):
            answer = await self.answer(self.wide, sent)
            if answer.status != 200:
                self._found("not well afterwards", sent, f"{answer}")
        if await self._fingerprint() != self._before:
            self._found("another tenant was changed", sent, "")

    async def answer(self, tenant: Tenant, sent: Sent, *, leaves: bool = False) -> Answer:
        """Return what the server answers."""
        events: list[Any] = [{"type": "http.request", "body": sent.body, "more_body": False}]
        parts: list[Any] = []
        for_ever = asyncio.Event()

        async def receive() -> Any:
            if events:
                return events.pop(0)
            if leaves:
                return {"type": "http.disconnect"}
            return await for_ever.wait()

        async def send(event: Any) -> None:
            parts.append(event)

        path = f"/{tenant.name}/fhir{sent.path}"
        headers = [*sent.headers, (b"content-length", b"%d" % len(sent.body))]
        scope = {
            "type": "http",
            "method": sent.method,
            "path": path,
            "raw_path": path.encode("ascii"),
            "headers": headers,
        }
        scope |= {"query_string": sent.query.encode("ascii"), "http_version": "1.1", "scheme": "http"}
        await self.front(scope, receive, send)
        if not parts:
            return Answer(0, {}, b"")
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in parts[0]["headers"]}
        return Answer(parts[0]["status"], found, b"".join(part.get("body", b"") for part in parts[1:]))

    async def _one(self, tenant: Tenant, maker: Maker, sent: Sent, *, leaves: bool) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(SLOW):
                answer = await self.answer(tenant, sent, leaves=leaves)
        except TimeoutError:
            self._found("hang", sent, f"no answer after {SLOW} s")
            return
        except Exception as failure:
            self._found(f"raised {type(failure).__name__}", sent, repr(failure))
            return
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        self.statuses[answer.status] += 1
        for rule in (_no_fault, _well_formed, _outcome):
            if broken := rule(sent, answer):
                where = self._faults.get(answer.headers.get("x-request-id", ""), "")
                self._found(f"{broken} {where}", sent, f"{answer.status} {answer.body[:1500]!r}")
        self._canaries(tenant, sent, answer)
        self._remember(maker, answer)

    def _canaries(self, tenant: Tenant, sent: Sent, answer: Answer) -> None:
        whole = answer.body + str(answer.headers).encode()
        foreign = {"Chinchilla", "Aardvark", "Bumblebee"} - {"Aardvark" if tenant is self.wide else "Bumblebee"}
        for word in foreign:
            if word.encode() in whole:
                self._found(f"{word} seen in another tenant", sent, f"{answer}")
        if tenant is self.walled and b"Bumblebee-2" in whole:
            self._found("a patient's token sees another patient", sent, f"{answer}")

    def _remember(self, maker: Maker, answer: Answer) -> None:
        at = answer.body.find(b"_cursor=")
        if at > 0:
            maker.cursors.append(answer.body[at + 8 : at + 400].partition(b'"')[0].partition(b"&")[0].decode())
            del maker.cursors[:-20]

    def _found(self, kind: str, sent: Sent, told: str) -> None:
        self.findings.setdefault(kind, Finding(kind, sent, told))

    def heard(self, _: Any, __: str, event: Any) -> Any:
        """Take a fault's place from the log; a processor of structlog."""
        failure = event.get("exc_info")
        if isinstance(failure, BaseException):
            place, trace = "", failure.__traceback__
            while trace:
                place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
                trace = trace.tb_next
            self._faults[event.get("request_id", "")] = f"{type(failure).__name__} at {place}: {str(failure)[:200]}"
        raise structlog.DropEvent

    async def _tenant(self, name: str, word: str) -> Tenant:
        tenant = await tenants.add(self.concord.db, name)
        self._words[name] = (word, await self._token(tenant, "system/*.cruds"))
        for record in records("@"):
            assert (await self._put(tenant, record)).status == 201
        return tenant

    async def _put(self, tenant: Tenant, record: Json) -> Answer:
        """Make a record what it was, with the tenant's own word; what is of the second patient alone says so."""
        word, token = self._words[tenant.name]
        own = f"{word}-2" if record["id"] == "2" and record["resourceType"] in _OF_PATIENTS else word
        body = json.dumps(record).replace("@", own).encode()
        headers = (_bearer(token), (b"content-type", b"application/fhir+json"))
        return await self.answer(tenant, Sent("PUT", f"/{record['resourceType']}/{record['id']}", "", headers, body))

    async def _tokens(self, tenant: Tenant, scopes: dict[str, str]) -> dict[str, str]:
        return {name: await self._token(tenant, scope) for name, scope in scopes.items()}

    async def _token(
        self, tenant: Tenant, scope: str, patient: str | None = None, lifetime: timedelta = timedelta(days=1)
    ) -> str:
        key = await keys.active(self.concord.db, tenant.id)
        return mint(
            key,
            self.concord.base(tenant),
            self.concord.clock(),
            tenant=tenant,
            scope=scope,
            subject="fuzz",
            client="fuzz",
            patient=patient,
            lifetime=lifetime,
        )

    async def _fingerprint(self) -> Any:
        sql = f"{_PRINT} where tenant_id = %s"
        return await self.concord.db.fetch(self.hidden.id, sql, (self.hidden.id,))


_OF_PATIENTS = frozenset(("Patient", "Encounter", "Observation", "Condition", "DocumentReference", "Basic", "List"))


def _bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token}".encode()


def _no_fault(sent: Sent, answer: Answer) -> str:
    return f"status {answer.status}" if answer.status >= 500 and answer.status != 503 else ""


def _well_formed(sent: Sent, answer: Answer) -> str:
    kind = answer.headers.get("content-type", "")
    if not answer.body or "content-encoding" in answer.headers:
        return ""
    try:
        if "ndjson" in kind:
            for line in answer.body.splitlines():
                msgspec.json.decode(line)
        elif "json" in kind:
            msgspec.json.decode(answer.body)
        elif "xml" in kind:
            ElementTree.fromstring(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, ElementTree.ParseError) as problem:
        return f"malformed {kind}: {type(problem).__name__}"
    return ""


def _outcome(sent: Sent, answer: Answer) -> str:
    if answer.status < 400 or sent.method == "HEAD" or "content-encoding" in answer.headers:
        return ""
    return "" if b"OperationOutcome" in answer.body[:400] else f"{answer.status} without an OperationOutcome"
