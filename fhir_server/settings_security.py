"""Settings of tokens, sessions, keys and the limits of abuse."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from fhir_server.settings_row import row
from fhir_server.settings_sessions import SessionSettings


class SecuritySettings(SessionSettings):
    """Who gets in, and for how long."""

    master_key: SecretStr | None = row(
        None, "The key that wraps each tenant's data key: 32 random bytes in base64. With it, all is encrypted at rest."
    )
    master_key_file: Path | None = row(
        None,
        "File that holds the master key instead, for its owner's eyes alone; with the embedded PostgreSQL one is made.",
        shown="`master.key` in the data folder with the embedded PostgreSQL, otherwise none",
    )
    audit_seal_seconds: float = row(
        10.0, "How often a worker chains what was added to the audit.", unit="s", ge=0.1, le=86_400
    )
    backend_token_lifetime: int = row(
        300, "Lifetime of an access token that a backend service gets for its assertion.", unit="s", ge=1, le=300
    )
    token_lifetime: int = row(
        3600, "Lifetime of an access token of an app, and of one for which no other is asked.", unit="s", ge=1
    )
    refresh_token_lifetime: int = row(
        100 * 86_400, "How long a refresh token is good; each use gives a new one.", unit="s", ge=60
    )
    code_lifetime: int = row(60, "How long an app may take to redeem an authorization code.", unit="s", ge=1, le=600)
    authorization_timeout: int = row(
        1800, "How long a person may take to sign in and agree to what an app asks for.", unit="s", ge=60, le=86_400
    )
    launch_lifetime: int = row(
        300, "How long an app that was started from here may take to ask.", unit="s", ge=10, le=3600
    )
    signed_url_seconds: int = row(
        900, "Longest time for which the address that $signed-url gives of a document is good.", unit="s", ge=1, le=900
    )
    care_before_appointment: int = row(
        7, "How long before an appointment its practitioners are the patient's physicians.", unit="days", ge=0, le=365
    )
    care_after_appointment: int = row(
        30, "How long after an appointment its practitioners are the patient's physicians.", unit="days", ge=0, le=3650
    )
    care_after_encounter: int = row(
        180,
        "How long after an encounter those who took part to its end are the patient's physicians.",
        unit="days",
        ge=0,
        le=3650,
    )
    special_access_lifetime: int = row(
        3600, "Longest time that broken glass or a support session lasts.", unit="s", ge=60, le=86_400
    )
    standing_seconds: float = row(
        1.0,
        "How long a process trusts that a token was not revoked and that its user's role is the same; 0 always looks.",
        unit="s",
        ge=0,
        le=60,
    )
