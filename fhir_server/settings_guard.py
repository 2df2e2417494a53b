"""Settings of the doors: TLS, who stands before them, how often one may knock, and where requests of ours may go."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator

from fhir_server.settings_limits import LimitSettings
from fhir_server.settings_row import row


class GuardSettings(LimitSettings):
    """What guards the way in and the way out."""

    tls_cert: Path | None = row(
        None, "PEM file with the server's certificate and its chain: HTTP is then served over TLS 1.2 or newer alone."
    )
    tls_key: Path | None = row(None, "PEM file with the key of `CONCORD_TLS_CERT`.")
    hsts_seconds: int = row(
        31_536_000,
        "How long browsers are told to use nothing but https (HSTS), wherever the base URL is https; 0 tells nothing.",
        unit="s",
        ge=0,
    )
    trusted_proxies: str = row(
        "", "Networks of proxies, with commas between: only what comes from them is believed in `X-Forwarded-For`."
    )
    rate_per_address: float = row(
        5000.0,
        "Most requests from one address to one process, on average of ten seconds; more get 429. 0 sets no limit.",
        unit="requests/s",
        ge=0,
    )
    rate_per_client: float = row(
        5000.0, "The same for all requests with tokens of one client.", unit="requests/s", ge=0
    )
    rate_per_user: float = row(5000.0, "The same for all requests of one user.", unit="requests/s", ge=0)
    refusals_per_minute: int = row(
        300,
        "Requests without a good token, and refused token requests, that one address may make; then it gets 429.",
        unit="requests/min",
        ge=1,
    )
    outgoing_allow: str = row(
        "", "Hosts (`HOST` or `HOST:PORT`, with commas between) that may be private, and be asked by plain http."
    )
    outgoing_authorities: Path | None = row(
        None, "PEM file of certificate authorities that outgoing requests trust besides the well-known ones."
    )
    outgoing_timeout: float = row(
        10.0, "How long an outgoing request may take, from the name to the last byte.", unit="s", gt=0, le=300
    )
    outgoing_max_bytes: int = row(
        1 << 20, "Largest answer to an outgoing request; a larger one is given up.", unit="bytes", ge=1024
    )

    folders: Path | None = row(
        None,
        "Folder with one for each tenant, below which lie those that its channels watch or write to; without it, none.",
    )
    poll_hold_seconds: float = row(
        30.0,
        "How long a process that looks at a folder or FHIR server may be silent; then another does it.",
        unit="s",
        ge=1,
    )

    poll_timeout: float = row(
        60.0, "How long a FHIR server that is polled may take for a page.", unit="s", gt=0, le=600
    )
    poll_max_bytes: int = row(
        32 << 20, "Largest page that is taken from a FHIR server that is polled.", unit="bytes", ge=1024
    )

    @field_validator("folders")
    @classmethod
    def _absolute_folder(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("tls_cert", "tls_key", "outgoing_authorities")
    @classmethod
    def _readable_file(cls, value: Path | None) -> Path | None:
        return existing(value)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for item in listed(value):
            try:
                ip_network(item)
            except ValueError:
                raise ValueError("must be addresses or networks, such as 10.0.0.1,192.168.7.0/24") from None
        return value

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("CONCORD_TLS_CERT and CONCORD_TLS_KEY are given together")
        return self


def existing(value: Path | None) -> Path | None:
    """Return the file that a setting names, as a whole path; raise ValueError where it is not there."""
    if value is None:
        return None
    found = value.expanduser().absolute()
    if not found.is_file():
        raise ValueError("must name a file that is there")
    return found


def listed(value: str) -> tuple[str, ...]:
    """Return the items of a setting that is a list."""
    return tuple(item for item in value.replace(",", " ").split() if item)
