"""Settings of the watch and of what carries its alerts."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr

from fhir_server.settings_row import row
from fhir_server.settings_security import SecuritySettings


class WatchSettings(SecuritySettings):
    """How often channels are looked at, and how people are told."""

    watch_seconds: float = row(15.0, "How often each tenant's channels are looked at.", unit="s", ge=1, le=3600)
    alert_remind: float = row(
        14_400.0, "How long after an alert people are told again that it stands unacknowledged.", unit="s", ge=60
    )
    alert_gap: float = row(
        300.0, "How soon people are told again of what happens again and again, such as broken glass.", unit="s", ge=0
    )
    alert_give_up: float = row(86_400.0, "A notice that cannot be sent for so long is given up.", unit="s", ge=60)
    smtp_host: str | None = row(None, "Mail server that takes alerts; without it no alert goes out by e-mail.")
    smtp_port: int = row(587, "Port of the mail server.", ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = row(
        "starttls", "How it speaks TLS: after STARTTLS, from the first byte, or not at all."
    )
    smtp_user: str | None = row(None, "Name to sign in to it with.")
    smtp_password: SecretStr | None = row(None, "Password of that name.")
    smtp_from: str = row("concord@localhost", "Address from which alerts are sent.")
