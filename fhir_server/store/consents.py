"""What patients deny, as the rules of their Consents: replaced in the transaction that stores the Consent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fhir_server.store.database import Tx

_FORGET = "delete from consent_rule where tenant_id = %s and consent = any(%s::bigint[])"
_COLUMNS = {
    "n": "smallint",
    "above": "text",
    "deny": "boolean",
    "valid_from": "timestamptz",
    "valid_to": "timestamptz",
    "actors": "text",
    "purposes": "text",
    "types": "text",
    "labels": "text",
    "records": "text",
    "mentions": "text",
    "data_from": "timestamptz",
    "data_to": "timestamptz",
}
# Arrays of different lengths are sent as texts.
_ARRAYS = {
    "above": "smallint", "actors": "bigint", "purposes": "text", "types": "smallint", "labels": "bigint",
    "records": "bigint", "mentions": "bigint",
}  # fmt: skip
_NAMES = ", ".join(_COLUMNS)
_VALUES = ", ".join(f"n.{name}::{_ARRAYS[name]}[]" if name in _ARRAYS else f"n.{name}" for name in _COLUMNS)
_SENT = ", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values())
_PUT = (
    f"insert into consent_rule (tenant_id, patient, consent, made, {_NAMES})"  # noqa: S608
    f" select %s, %s, %s, %s, {_VALUES} from unnest({_SENT}) as n ({_NAMES})"
)


def forget(tx: Tx, consents: Sequence[int]) -> None:
    """Queue that these Consents (self_keys) deny nothing any more."""
    tx.defer(_FORGET, (tx.tenant_id, list(consents)))


def put(tx: Tx, consent: int, patient: int, rules: Sequence[Any], now: datetime) -> None:
    """Queue what a Consent denies of a patient; `search.consent.Rule`s."""
    columns = [[_sent(name, getattr(rule, name)) for rule in rules] for name in _COLUMNS]
    tx.defer(_PUT, (tx.tenant_id, patient, consent, now, *columns))


def _sent(name: str, value: Any) -> Any:
    if value is None or name not in _ARRAYS:
        return value
    return "{" + ",".join(_quoted(one) if isinstance(one, str) else str(one) for one in value) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def settled(tx: Tx, since: datetime) -> bool:
    """Tell whether the tenant has had rules since before a moment, so that every process looks at them already."""
    rows = await tx.fetch(
        "select exists (select from consent_rule where tenant_id = %s and made < %s)", (tx.tenant_id, since)
    )
    return bool(rows[0][0])
