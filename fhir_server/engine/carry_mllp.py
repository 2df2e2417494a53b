"""Messages to receivers over MLLP: each answer is for its message, and says what becomes of it.

HL7 v2.5.1 chapter 2.9.2: 200 to 203 stop, 206, 207 or nothing are tried again, AE is for a person, CE passes, CR stops.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from adapters.client_tls import client_context
from adapters.mllp import NoAnswer, Sender
from adapters.web import Failed, Refused
from fhir_server.engine.parcel import Outcome, Parcel, acknowledged, made_by
from fhir_server.operations.destinations import MllpOut
from mappings.answered import answered

_LARGEST = 1 << 20
Resolve = Callable[[str, int, bool], Awaitable[Sequence[str]]]


class _Kept(msgspec.Struct):
    """A connection, and by what it was made: another definition or key needs another."""

    made_by: object
    senders: list[Sender]


class MllpCarrier:
    """Keeps connections to receivers between messages, at most as many to each as its definition says."""

    def __init__(self, resolve: Resolve) -> None:
        """`resolve(host, port, plain)` gives the addresses of a host, or raises Refused where nothing of ours may go
        there, or not in plain text."""
        self._resolve = resolve
        self._idle: dict[tuple[int, str, str], _Kept] = {}

    async def carry(self, parcel: Parcel) -> Outcome:
        """Send a message; its answer is the first that names its control id."""
        assert isinstance(parcel.destination, MllpOut)
        strays: list[bytes] = []
        try:
            sender = await self._taken(parcel)
        except ValueError as problem:
            return Outcome(state="held", reason=str(problem))
        try:
            answer = await sender.send(parcel.content, lambda frame: _belongs(frame, parcel.control_id, strays))
        except NoAnswer as problem:
            return _silent(str(problem), strays)
        except Refused as problem:
            return Outcome(state="held", reason=str(problem))
        except Failed as problem:
            return Outcome(state="later", reason=str(problem), down=True, counts=False)
        except ssl.SSLError as problem:
            return Outcome(state="later", reason=f"TLS: {problem.reason or 'failed'}", down=True, counts=False)
        except TimeoutError:
            return Outcome(state="later", reason="not connected in time", down=True, counts=False)
        except OSError as problem:
            why = os.strerror(problem.errno) if problem.errno else type(problem).__name__
            return Outcome(state="later", reason=f"not connected: {why}", down=True, counts=False)
        except ValueError:
            return Outcome(state="held", reason="the message holds a byte that MLLP cannot carry (0x0B or 0x1C)")
        await self._given_back(parcel, sender)
        return acknowledged(answer)

    async def aclose(self) -> None:
        """Close the connections."""
        kept, self._idle = list(self._idle.values()), {}
        for one in kept:
            for sender in one.senders:
                await sender.close()

    async def _taken(self, parcel: Parcel) -> Sender:
        """Return a connection that nobody uses, made by the definition of now."""
        destination = parcel.destination
        assert isinstance(destination, MllpOut)
        made = made_by(parcel)
        key = (parcel.tenant_id, parcel.channel, destination.name)
        kept = self._idle.get(key)
        if kept and kept.made_by != made:
            del self._idle[key]
            for sender in kept.senders:
                await sender.close()
            kept = None
        if kept and kept.senders:
            return kept.senders.pop()
        return self._made(destination, parcel)

    def _made(self, destination: MllpOut, parcel: Parcel) -> Sender:
        tls = destination.tls
        key = parcel.secrets[tls.key] if tls and tls.key else None
        return Sender(
            destination.host,
            destination.port,
            connect=destination.connect,
            answer=destination.answer,
            limit=_LARGEST,
            tls=client_context(tls.authorities, tls.certificate, key) if tls else None,
            server_name=tls.name if tls else None,
            resolve=lambda host, port: self._resolve(host, port, tls is None),
        )

    async def _given_back(self, parcel: Parcel, sender: Sender) -> None:
        made = made_by(parcel)
        key = (parcel.tenant_id, parcel.channel, parcel.destination.name)
        kept = self._idle.setdefault(key, _Kept(made, []))
        if kept.made_by == made and len(kept.senders) < parcel.destination.connections:
            kept.senders.append(sender)
        else:
            await sender.close()


def _belongs(frame: bytes, control_id: str, strays: list[bytes]) -> bool:
    found = answered(frame)
    if found is not None and found.belongs_to(control_id):
        return True
    strays[:] = [frame]
    return False


def _silent(reason: str, strays: list[bytes]) -> Outcome:
    if strays:
        reason = f"{reason}; what came is no answer to this message"
    return Outcome(state="later", reason=reason, answer=b"".join(strays), down=True)
