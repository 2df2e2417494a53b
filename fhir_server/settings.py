"""Every setting of an installation, in one table, read from `CONCORD_` environment variables and nowhere else."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError, field_validator, model_validator

from fhir_server.settings_basic import PREFIX
from fhir_server.settings_mllp import MllpSettings
from fhir_server.settings_row import row

MASK = "**********"
_PASSWORDS = (
    re.compile(r"(?<=://)([^:@/\s]*:)\S*(?=@)"),
    re.compile(r"(\w*password\s*=\s*)('(?:\\.|[^'])*'|\S+)"),
)


class SettingsError(ValueError):
    """The environment does not make a usable installation; the message has one line per variable, without its value."""


class Settings(MllpSettings):
    """The table. `Settings.load()` reads the environment; keyword arguments win over it, which is how flags arrive."""

    ack_timeout: float = row(
        20.0, "How long storing a message may take; its sender then gets AR and may send it again.", unit="s", gt=0
    )

    control_id_days: float = row(
        30.0, "Within so long the same control id with other content counts as reused.", unit="days", gt=0, le=36_500
    )

    message_days: int = row(
        90, "How long a message is kept, unless its channel says otherwise.", unit="days", ge=2, le=36_500
    )
    buried_days: int = row(
        365, "The same for one that is buried or quarantined and waits for a person.", unit="days", ge=2, le=36_500
    )

    worker_concurrency: int = row(
        4, "Transactions in which one worker processes messages at one time.", unit="transactions", ge=1, le=256
    )
    worker_together: int = row(
        16,
        "Waiting messages that one transaction takes together, each of another patient.",
        unit="messages",
        ge=1,
        le=256,
    )
    worker_deaths: int = row(
        3, "Worker processes that may die at one message before it is buried.", unit="processes", ge=1
    )
    poll_interval: float = row(5.0, "How often a worker looks for work without being woken.", unit="s", gt=0)
    delivery_concurrency: int = row(
        16, "Deliveries that one worker sends at one time.", unit="deliveries", ge=1, le=256
    )
    delivery_kept_bytes: int = row(
        65_536, "Bytes of each request and answer of a delivery that are kept.", unit="bytes", ge=0, le=16 << 20
    )
    retry_attempts: int = row(8, "Tries after which a message that fails for a passing reason is buried.", ge=1)
    retry_base: float = row(1.0, "Wait before the second try; each later wait doubles.", unit="s", gt=0)
    retry_max: float = row(300.0, "Longest wait between two tries.", unit="s", gt=0)

    log_level: Literal["debug", "info", "warning", "error"] = row("info", "Lowest level that is logged.")
    log_format: Literal["console", "json"] = row("console", "How a line is logged on standard error.")

    @classmethod
    def load(cls, **flags: Any) -> Self:
        """Return the settings of this environment; a flag that is not None wins. Raises SettingsError."""
        return cls._checked({name: value for name, value in flags.items() if value is not None})

    def evolve(self, **changes: Any) -> Self:
        """Return a checked copy with these changes, None included. Raises SettingsError."""
        return self._checked({name: getattr(self, name) for name in self.model_fields_set} | changes)

    def environ(self) -> dict[str, str]:
        """Return the environment of a child process: these same settings, but for the owner's database URL."""
        rest = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        names = [name for name in type(self).model_fields if name != "migrate_database_url"]
        return rest | {variable(name): _text(getattr(self, name)) for name in names if getattr(self, name) is not None}

    def masked(self) -> dict[str, str]:
        """Return every setting by name as text fit to show: without keys and passwords."""
        return {name: mask(str(getattr(self, name))) for name in type(self).model_fields}

    def __repr_args__(self) -> Any:
        """Show the settings masked wherever a repr or a traceback prints them."""
        return self.masked().items()

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> Self:
        try:
            return cls(**values)
        except ValidationError as failure:
            raise SettingsError(_readable(failure)) from None

    @field_validator("data_dir", "test_clock", "master_key_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("database_url", "migrate_database_url")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        if value is None or urlsplit(value).scheme in ("postgresql", "postgres") or re.match(r"\s*\w+\s*=", value):
            return value
        raise ValueError("must be a PostgreSQL URL (postgresql://USER:PASSWORD@HOST/DATABASE) or key=value pairs")

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: str | None) -> str | None:
        return _with_scheme(value, "amqp", "amqps", "redis", "rediss")

    @field_validator("object_store")
    @classmethod
    def _objects(cls, value: str) -> str | None:
        parts = urlsplit(_with_scheme(value, "file", "s3") or "")
        if parts.scheme == "s3" and not (parts.hostname and parts.path.strip("/")):
            raise ValueError("an S3 store needs a host and a bucket: s3://KEY:SECRET@HOST:PORT/BUCKET")
        return value

    @field_validator("base_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        parts = urlsplit(_with_scheme(value, "http", "https") or "")
        if value is not None and (not parts.hostname or parts.query or parts.fragment or parts.username):
            raise ValueError("must be an http or https URL with a host and without user, query or fragment")
        return None if value is None else value.rstrip("/")

    @field_validator("master_key")
    @classmethod
    def _thirty_two_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            if value is None or len(base64.b64decode(value.get_secret_value(), validate=True)) == 32:
                return value
        except (binascii.Error, ValueError):
            pass
        raise ValueError("must be 32 bytes in base64")

    @model_validator(mode="after")
    def _together(self) -> Self:
        pairs = (
            ("pool_min_size", "pool_max_size"),
            ("default_page_size", "max_page_size"),
            ("retry_base", "retry_max"),
        )
        for low, high in pairs:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{variable(low)} must not be larger than {variable(high)}")
        if self.test_clock is not None and self.env != "test":
            raise ValueError("CONCORD_TEST_CLOCK is refused unless CONCORD_ENV=test: a server's clock is never moved")
        return self


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables of the environment that look like settings but are none: most often a slip of the pen."""
    known = {variable(name) for name in Settings.model_fields}
    given = os.environ if environ is None else environ
    return sorted(name for name in given if name.upper().startswith(PREFIX) and name.upper() not in known)


def mask(text: str) -> str:
    """Return the text with the passwords of URLs and of key=value connection strings hidden."""
    for pattern in _PASSWORDS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_scheme(value: str | None, *schemes: str) -> str | None:
    if value is None or urlsplit(value).scheme in schemes:
        return value
    raise ValueError(f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")


def _readable(failure: ValidationError) -> str:
    """Return one line per problem that names the variable; values are left out, for they may be secret."""
    lines = []
    for problem in failure.errors(include_input=False, include_url=False):
        where = f"{variable(str(problem['loc'][0]))}: " if problem["loc"] else ""
        lines.append(where + problem["msg"].removeprefix("Value error, "))
    return "\n".join(lines)
