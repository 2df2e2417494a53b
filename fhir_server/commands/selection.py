"""Which messages: the options that commands of messages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, cast, get_args

import typer

from fhir_server.app import Concord
from fhir_server.commands.runtime import as_operator
from fhir_server.context import Tenant
from fhir_server.interactions.trail import row_of
from fhir_server.operations import messages as operations
from fhir_server.operations.messages import Asked
from fhir_server.store.messages import State, Summary

_STATES: tuple[str, ...] = get_args(State)
_MOMENT = "as 2026-03-01T08:30, in UTC where it names no zone, or so long ago: 30m, 2h, 7d."
Channels = Annotated[list[str] | None, typer.Option("--channel", help="Only messages of this; may be repeated.")]
States = Annotated[
    list[str] | None, typer.Option("--state", help=f"Only these: {', '.join(_STATES)}; may be repeated.")
]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only these, as ORU or ORU^R01; may be repeated.")]
Sender = Annotated[str | None, typer.Option(help="Only of this MSH-3, or MSH-3/MSH-4.")]
Patient = Annotated[str | None, typer.Option(help="Only of this patient: NUMBER, or AUTHORITY|NUMBER.")]
Order = Annotated[str | None, typer.Option(help="Only with this number of a placer or filler.")]
ControlId = Annotated[str | None, typer.Option(help="Only messages with this MSH-10.")]
Error = Annotated[str | None, typer.Option(help="Only with these words in the reason, such as PID-7.")]
Since = Annotated[str | None, typer.Option(help=f"Only messages that came then or later: {_MOMENT}")]
Until = Annotated[str | None, typer.Option(help=f"Only messages that came before: {_MOMENT}")]


def asked(
    now: datetime,
    channels: Sequence[str] | None,
    states: Sequence[str] | None,
    types: Sequence[str] | None,
    sender: str | None,
    patient: str | None,
    order: str | None,
    control_id: str | None,
    error: str | None,
    since: str | None,
    until: str | None,
) -> Asked:
    """Return the search of these options. Raises typer.BadParameter."""
    for name in states or ():
        if name not in _STATES:
            raise typer.BadParameter(f"{name!r} is no state; there are {', '.join(_STATES)}", param_hint="--state")
    return Asked(
        channels=channels or (),
        states=cast(Sequence[State], states or ()),
        types=types or (),
        sender=sender,
        patient=patient,
        order=order,
        control_id=control_id,
        error=error,
        since=_moment(since, now, "--since"),
        until=_moment(until, now, "--until"),
    )


def _moment(text: str | None, now: datetime, option: str) -> datetime | None:
    try:
        return operations.moment(text, now) if text else None
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not {_MOMENT}", param_hint=option) from None


async def note_seen(concord: Concord, tenant: Tenant, action: str, shown: Sequence[Summary]) -> None:
    """Audit that an operator was shown messages, before they are."""
    ctx = as_operator(concord, tenant)
    notes = operations.seen(action, shown, concord.service.hasher, tenant.id)
    if notes:
        await concord.service.recorder.record(
            [row_of(tenant, ctx.now, ctx.request_id, ctx.grant, None, n) for n in notes]
        )
