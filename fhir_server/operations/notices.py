"""What people are told of an alert, in which words, and the jobs that carry it to them.

Nothing of a patient is told: kind, channel, counts, and numbers by which the rest is looked up by who may see it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from fhir_server.store import jobs
from fhir_server.store.alert_targets import Target
from fhir_server.store.alerts import Alert
from fhir_server.store.database import Tx
from fhir_server.store.jobs import NewJob

JOB = "notice"
# Kinds of what happens once: each time counts, and who acknowledges it has seen it.
EVENTS = frozenset(("break-glass", "support-session", "test"))
What = Literal["raised", "more", "reminder", "resolved"]


class Rhythm(msgspec.Struct, frozen=True):
    """How often people are told: again of what stands, and at most of what happens again and again."""

    remind: timedelta = timedelta(hours=4)
    gap: timedelta = timedelta(minutes=5)


class Notice(msgspec.Struct, frozen=True):
    """An alert as it is told; times in UTC."""

    tenant: str
    channel: str
    kind: str
    what: What
    alert: int
    count: int
    first: datetime
    last: datetime
    detail: dict[str, Any]


class Order(msgspec.Struct, frozen=True):
    """The payload of a job: a notice, when it was written, and to whom it goes: a webhook's number, or an address."""

    notice: Notice
    queued: datetime
    webhook: int | None = None
    email: str | None = None


def due(alert: Alert, now: datetime, rhythm: Rhythm) -> What | None:
    """Return what is to be told of an alert now, None for nothing."""
    if alert.resolved is not None:
        return "resolved"
    if alert.told is None:
        return "raised"
    since = now - alert.told
    if alert.kind in EVENTS and alert.count > alert.told_count and since >= rhythm.gap:
        return "more"
    return "reminder" if alert.acknowledged is None and since >= rhythm.remind else None


def notice_of(alert: Alert, tenant: str, what: What) -> Notice:
    """Return an alert as it is told."""
    return Notice(
        tenant, alert.channel, alert.kind, what, alert.id, alert.count, alert.first, alert.last, alert.detail
    )  # fmt: skip


def queue(tx: Tx, notice: Notice, targets: Sequence[Target], emails: Sequence[str], now: datetime) -> int:
    """Queue a notice with the transaction, a job for each recipient, each address once; return how many."""
    addresses = dict.fromkeys([*(one.address for one in targets if one.kind == "email"), *emails])
    orders = [Order(notice, now, email=address) for address in addresses]
    orders += [Order(notice, now, webhook=one.id) for one in targets if one.kind == "webhook"]
    made = [NewJob(JOB, msgspec.to_builtins(one), _order(tx.tenant_id, one)) for one in orders]
    jobs.add(tx, made, now)
    return len(made)


def subject(notice: Notice) -> str:
    """Return the subject of a mail."""
    before: Mapping[What, str] = {"raised": "", "more": "again: ", "reminder": "still: ", "resolved": "resolved: "}
    place = f"{notice.tenant}/{notice.channel}" if notice.channel else notice.tenant
    return f"[Concord] {before[notice.what]}{place}: {says(notice.kind, notice.detail, notice.count)}"


def text(notice: Notice, base_url: str) -> str:
    """Return the text of a mail."""
    lines = [
        f"{says(notice.kind, notice.detail, notice.count)}.",
        "",
        f"Clinic:   {notice.tenant}",
        *([f"Channel:  {notice.channel}"] if notice.channel else []),
        f"Kind:     {notice.kind}",
        f"Count:    {notice.count}",
        f"First:    {notice.first:%Y-%m-%d %H:%M} UTC",
        f"Last:     {notice.last:%Y-%m-%d %H:%M} UTC",
        "",
    ]
    if notice.what == "resolved":
        return "\n".join((*lines, "It is resolved.", ""))
    return "\n".join((*lines, f"See and acknowledge it: {base_url}/{notice.tenant}/watch", ""))


def body(notice: Notice) -> bytes:
    """Return what a webhook gets, as JSON."""
    told = msgspec.to_builtins(notice) | {"text": says(notice.kind, notice.detail, notice.count)}
    return msgspec.json.encode(told)


def signature(secret: bytes, content: bytes, now: datetime) -> str:
    """Return the header that proves who sent a webhook its content, and when: `t=SECONDS,v1=HMAC-SHA256`.

    The HMAC is of the seconds, a full stop and the content, so that an old request cannot be sent again as a new one.
    """
    seconds = str(int(now.timestamp()))
    signed = hmac.new(secret, seconds.encode() + b"." + content, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={signed}"


def says(kind: str, detail: Mapping[str, Any], count: int) -> str:
    """Return an alert in a sentence, without its end."""
    said = _SAYS.get(kind)
    return said(detail, count) if said else kind.replace("-", " ").capitalize()


def _silence(detail: Mapping[str, Any], _: int) -> str:
    return f"Nothing came for {detail.get('minutes')} expected minutes; {detail.get('allowed')} are allowed"


def _queue(detail: Mapping[str, Any], count: int) -> str:
    return f"{count} messages wait, the oldest for {detail.get('minutes')} minutes; {detail.get('allowed')} are allowed"


def _buried(detail: Mapping[str, Any], count: int) -> str:
    return f"{count} messages were buried within {detail.get('within')} minutes"


def _errors(detail: Mapping[str, Any], _: int) -> str:
    failed, seen = detail.get("failed"), detail.get("of")
    return f"{failed} of {seen} messages failed within {detail.get('within')} minutes ({detail.get('percent')} %)"


def _held(detail: Mapping[str, Any], count: int) -> str:
    return f"{count} deliveries were held or failed within {detail.get('within')} minutes"


def _destination(detail: Mapping[str, Any], _: int) -> str:
    down, stopped = (", ".join(detail.get(name) or ()) for name in ("down", "stopped"))
    said = [f"{down} cannot be reached"] if down else []
    return "; ".join([*said, *([f"{stopped} waits for a person"] if stopped else [])])


def _opened(detail: Mapping[str, Any], count: int) -> str:
    times = "" if count == 1 else f" {count} times"
    return f"{detail.get('email')} broke the glass{times}; access {detail.get('access')} waits for a review"


def _support(detail: Mapping[str, Any], count: int) -> str:
    return f"{detail.get('email')} opened a support session; access {detail.get('access')} waits for a review"


_SAYS: Mapping[str, Callable[[Mapping[str, Any], int], str]] = {
    "silence": _silence,
    "queue-age": _queue,
    "buried": _buried,
    "errors": _errors,
    "held": _held,
    "destination": _destination,
    "break-glass": _opened,
    "support-session": _support,
    "test": lambda _, __: "This is a test: alerts reach you",
}


def _order(tenant_id: int | None, order: Order) -> int:
    """Return the order of the jobs to one recipient: what was told first arrives first, and none waits for another."""
    name = f"notice {tenant_id} {order.webhook} {order.email}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)
