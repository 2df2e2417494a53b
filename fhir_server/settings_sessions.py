"""Settings of people who sign in: passwords, sessions, second factors and lock-out."""

from __future__ import annotations

from typing import Literal

from fhir_server.settings_guard import GuardSettings
from fhir_server.settings_row import row


class SessionSettings(GuardSettings):
    """How people get in, and how long they stay."""

    second_factor: Literal["required", "optional"] = row(
        "required", "Whether everybody must set up a second factor, or may."
    )
    session_idle: float = row(900.0, "A session that is not used for so long is over.", unit="s", ge=60, le=86_400)
    session_absolute: float = row(
        43_200.0, "A session is over after so long, used or not.", unit="s", ge=60, le=2_592_000
    )
    session_fresh: float = row(
        900.0, "Passwords and second factors are changed within so long of signing in.", unit="s", ge=60, le=86_400
    )
    invitation_lifetime: float = row(
        604_800.0, "How long an invitation or reset link is good.", unit="s", ge=60, le=2_592_000
    )
    password_length: int = row(12, "Fewest characters of a password.", unit="characters", ge=8, le=128)
    password_memory: int = row(
        65_536, "Memory that hashing one password takes (argon2id).", unit="KiB", ge=19_456, le=4_194_304
    )
    password_passes: int = row(3, "Passes over that memory.", ge=2, le=64)
    lockout_free: int = row(5, "Failures to sign in to one account before each next one must wait.", ge=1, le=100)
    lockout_address_free: int = row(50, "The same for one network address.", ge=1, le=1_000_000)
    lockout_first: float = row(2.0, "Wait after the first failure too many; it doubles each time.", unit="s", gt=0)
    lockout_longest: float = row(900.0, "Longest such wait.", unit="s", gt=0, le=86_400)
    lockout_memory: float = row(86_400.0, "After so long without a failure, they are forgotten.", unit="s", gt=0)
