"""Settings of the way in for HL7 v2: MLLP over TLS, ports of channels, bounds of connections and messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from fhir_server.settings_guard import existing, listed
from fhir_server.settings_row import row
from fhir_server.settings_watch import WatchSettings

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?\Z")


class MllpSettings(WatchSettings):
    """How HL7 messages come in."""

    mllp_tls_cert: Path | None = row(
        None,
        "PEM file with the certificate that MLLP shows, and its chain: then it listens on `CONCORD_MLLP_TLS_PORT`.",
    )
    mllp_tls_key: Path | None = row(None, "PEM file with the key of `CONCORD_MLLP_TLS_CERT`.")
    mllp_tls_authorities: Path | None = row(
        None, "PEM file of authorities, or of single certificates, whose senders are let in; without it all are let in."
    )
    mllp_tls_port: int = row(
        2576, "Port on which MLLP over TLS listens, where there is a certificate; 0 takes a free one.", ge=0, le=65535
    )
    mllp_channel_ports: str = row(
        "2600-2699", "Ports, and ranges of ports, that channels may have for themselves, with commas between."
    )
    mllp_handshake_timeout: float = row(10.0, "How long the handshake of TLS may take.", unit="s", gt=0, le=600)
    mllp_max_message_bytes: int = row(128 << 20, "Largest HL7 message taken by MLLP or HTTP.", unit="bytes", ge=1024)
    message_whole_bytes: int = row(
        128 << 10,
        "An HL7 message of more bytes is taken in pieces: its documents go to the object store as they arrive.",
        unit="bytes",
        ge=1024,
    )
    message_text_bytes: int = row(
        16 << 20, "Most bytes of an HL7 message without its documents; more are refused.", unit="bytes", ge=1024
    )
    message_segments: int = row(
        50_000, "Most segments of an HL7 message that is worked; one of more is buried.", unit="segments", ge=100
    )
    messages_large: int = row(
        8, "Most messages that one process takes in pieces at one time; others wait.", unit="messages", ge=1
    )
    document_from_bytes: int = row(
        16 << 10, "From this size on, a document in OBX-5 goes to the object store.", unit="bytes", ge=1024
    )
    document_max_bytes: int = row(
        128 << 20, "Largest document in a message, as its text; larger ones are refused.", unit="bytes", ge=1024
    )
    documents_max: int = row(100, "Most documents of one message that go to the object store; more are refused.", ge=1)
    mllp_max_connections: int = row(
        256, "Most MLLP connections of one process open at one time, on all its ports.", unit="connections", ge=1
    )
    mllp_max_connections_per_peer: int = row(64, "Most of them from one address.", unit="connections", ge=1)
    mllp_idle_timeout: float = row(900.0, "An MLLP connection silent for so long is closed.", unit="s", gt=0)
    mllp_read_timeout: float = row(
        120.0, "How long a message may take from its first byte to its last over MLLP, or by HTTP.", unit="s", gt=0
    )

    @field_validator("mllp_tls_cert", "mllp_tls_key", "mllp_tls_authorities")
    @classmethod
    def _of_mllp(cls, value: Path | None) -> Path | None:
        return existing(value)

    @field_validator("mllp_channel_ports")
    @classmethod
    def _ranges(cls, value: str) -> str:
        ports_of(value)
        return value

    @model_validator(mode="after")
    def _proof_of_mllp(self) -> Self:
        if (self.mllp_tls_cert is None) != (self.mllp_tls_key is None):
            raise ValueError("CONCORD_MLLP_TLS_CERT and CONCORD_MLLP_TLS_KEY are given together")
        if self.mllp_tls_authorities and self.mllp_tls_cert is None:
            raise ValueError("CONCORD_MLLP_TLS_AUTHORITIES is of use with CONCORD_MLLP_TLS_CERT")
        return self


def ports_of(text: str) -> tuple[range, ...]:
    """Return the ports of a list such as `2600-2699, 3000`; raise ValueError."""
    found = []
    for item in listed(text):
        match = _PORTS.match(item)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last < 65536:
            raise ValueError("must be ports and ranges of ports, such as 2600-2699,3000")
        found.append(range(first, last + 1))
    return tuple(found)
