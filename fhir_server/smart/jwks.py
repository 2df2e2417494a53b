"""Key sets that clients publish at an address of their own, kept no longer than the address allows.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html#registering-a-client-communicating-public-keys
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from adapters.web import Answer, Failed, Refused
from fhir_server.errors import Invalid
from fhir_server.smart.assertion import require_jwks
from fhir_server.smart.refusal import Refusal
from fhir_server.store.clients import Client

Get = Callable[[str], Awaitable[Answer]]
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
_MOST = 1000
# An address that does not say how long is asked again soon; none is trusted longer than an hour.
_UNSAID = 60
_LONGEST = 3600
# A key that is not among the kept ones may be new; but whoever names unknown keys shall not make us ask all the time.
_SOONEST = 10


class _Kept(msgspec.Struct, frozen=True):
    keys: dict[str, Any]
    since: float
    until: float


class KeySets:
    """Gives the key set of a client, fetched by `get` where it stands at an address."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def of(self, client: Client, kid: str | None, now: datetime) -> Mapping[str, Any]:
        """Return the client's key set, fetched anew where `kid` is not in the kept one. Raises Refusal."""
        if client.jwks is not None:
            return client.jwks
        if client.jwks_uri is None:
            raise Refusal("invalid_client", "this client has no keys")
        moment = now.timestamp()
        kept = self._kept.get(client.jwks_uri)
        if kept is None or not kept.since <= moment < kept.until or _may_be_new(kept, kid, moment):
            kept = await self._fetched(client.jwks_uri, moment)
        return kept.keys

    async def _fetched(self, address: str, moment: float) -> _Kept:
        self._kept.pop(address, None)
        try:
            answer = await self._get(address)
            if answer.status != 200:
                raise Failed(f"it answered {answer.status}")
            keys = _usable(msgspec.json.decode(answer.body))
        except (Refused, Failed, Invalid, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise Refusal("invalid_client", "the client's key set cannot be fetched or read") from problem
        kept = _Kept(keys, moment, moment + _age(answer.headers.get("cache-control", "")))
        if kept.until > moment:
            self._kept[address] = kept
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return kept


def _usable(content: Any) -> dict[str, Any]:
    """Return the keys that can verify assertions; a published set may hold others beside them. Raises Invalid."""
    given = content.get("keys") if isinstance(content, dict) else None
    found = []
    for key in given if isinstance(given, list) else ():
        try:
            found += require_jwks({"keys": [key]})["keys"]
        except Invalid:
            continue
    return require_jwks({"keys": found})


def _may_be_new(kept: _Kept, kid: str | None, moment: float) -> bool:
    return moment > kept.since + _SOONEST and all(key["kid"] != kid for key in kept.keys["keys"])


def _age(cache_control: str) -> int:
    """Return for how many seconds an answer may be kept."""
    said = cache_control.lower()
    if "no-store" in said or "no-cache" in said:
        return 0
    found = _MAX_AGE.search(said)
    return min(int(found[1]), _LONGEST) if found else _UNSAID
