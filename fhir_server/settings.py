"""Every setting of an installation, in one table, read from `CONCORD_` environment variables and nowhere else."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CONCORD_"
MASK = "**********"
_PASSWORDS = (
    re.compile(r"(?<=://)([^:@/\s]*:)\S*(?=@)"),
    re.compile(r"(\w*password\s*=\s*)('(?:\\.|[^'])*'|\S+)"),
)


class SettingsError(ValueError):
    """The environment does not make a usable installation; the message has one line per variable, without its value."""


def _row(default: Any, description: str, *, unit: str = "", shown: str = "", **rules: Any) -> Any:
    """Declare one setting; `shown` replaces the default in the documentation where it depends on the machine."""
    extra: dict[str, Any] = {"unit": unit, "shown": shown}
    if callable(default):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **rules)
    return Field(default=default, description=description, json_schema_extra=extra, validate_default=True, **rules)


def _user_data_dir() -> Path:
    """Return the folder where this platform keeps a user's data; a service run by root keeps the system's state."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/concord")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "concord"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "concord"


def _objects_under(values: dict[str, Any]) -> str:
    return Path(values["data_dir"] / "objects").as_uri()


class Settings(BaseSettings):
    """The table. `Settings.load()` reads the environment; keyword arguments win over it, which is how flags arrive."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    env: Literal["production", "test"] = _row("production", "`test` allows what only a test may do: a moved clock.")
    test_clock: Path | None = _row(
        None, "File with the ISO time that is used as now; refused unless `CONCORD_ENV=test`."
    )

    data_dir: Path = _row(
        _user_data_dir,
        "Folder for all that the installation keeps on this machine, the embedded PostgreSQL included.",
        shown="the user's data folder (`~/.local/share/concord`); as root `/var/lib/concord`",
    )
    database_url: str | None = _row(
        None, "PostgreSQL as the server's own role; without it the embedded PostgreSQL runs in the data folder."
    )
    migrate_database_url: str | None = _row(
        None, "PostgreSQL as the owner or a superuser, used only by `concord migrate`; never give it to a server."
    )
    pool_min_size: int = _row(1, "Database connections that each process keeps open.", unit="connections", ge=1)
    pool_max_size: int = _row(10, "Most database connections of one process.", unit="connections", ge=1)
    pool_timeout: float = _row(
        10.0, "How long a request waits for a database connection to be free; then it gets 503.", unit="s", gt=0
    )
    statement_timeout: float = _row(30.0, "Longest run of one SQL statement; then the client gets 503.", unit="s", gt=0)
    slow_search_ms: int = _row(
        1000, "A search statement that takes longer is logged with its plan, without values.", unit="ms", ge=1
    )
    slow_searches_per_minute: int = _row(
        10, "Most slow searches that one process logs in a minute; 0 logs none.", unit="lines", ge=0
    )
    lock_timeout: float = _row(
        10.0, "How long a write waits for another of the same resource; then it gets 503.", unit="s", gt=0
    )
    broker_url: str | None = _row(
        None,
        "Redis or RabbitMQ that carries wake-ups to workers on other machines; without it PostgreSQL carries them.",
    )
    object_store: str = _row(
        _objects_under,
        "Contents of Binaries: `file:///FOLDER` or `s3://KEY:SECRET@HOST:PORT/BUCKET`; also `?tls=false`, `?region=`.",
        shown="the folder `objects` in the data folder",
    )
    master_key: SecretStr | None = _row(
        None, "Reserved, not read yet: the key that wraps each tenant's data key, 32 random bytes in base64."
    )

    base_url: str | None = _row(
        None,
        "Public address before `/{tenant}`: the only source of issuer, audience and links.",
        shown="`http://HOST:PORT` as `concord serve` chose them",
    )
    host: str = _row("127.0.0.1", "Address on which HTTP listens.")
    port: int = _row(8080, "Port on which HTTP listens; 0 takes a free one.", ge=0, le=65535)
    http_workers: int = _row(1, "HTTP processes; about one per core serves best.", unit="processes", ge=1, le=256)
    mllp_host: str = _row("127.0.0.1", "Address on which MLLP listens.")
    mllp_port: int = _row(2575, "Port on which MLLP listens; 0 takes a free one.", ge=0, le=65535)
    mllp_tenant: str | None = _row(None, "Name of the tenant that messages on the MLLP port belong to.")
    stop_timeout: float = _row(15.0, "How long a stopping process may finish what it began.", unit="s", gt=0)

    max_body_bytes: int = _row(16 << 20, "Largest HTTP request body; a larger one gets 413.", unit="bytes", ge=1024)
    compress_from_bytes: int = _row(
        1024, "Answers of so many bytes and more are sent as gzip to clients that take it; 0 packs none.", ge=0
    )
    request_timeout: float = _row(
        60.0, "Longest time for a request, and for the coming of its body; then it gets 503.", unit="s", gt=0
    )
    max_requests: int = _row(
        1000, "Most FHIR requests under way in one HTTP process; more get 503.", unit="requests", ge=1
    )
    max_header_bytes: int = _row(
        64 << 10, "Largest head of a request, about; a larger one gets 431.", unit="bytes", ge=4096
    )
    header_timeout: float = _row(
        20.0, "How long the head of a request may take to come; then the connection is closed.", unit="s", gt=0
    )
    max_url_bytes: int = _row(
        32 << 10, "Longest path and query of a request; a longer one gets 414.", unit="bytes", ge=1024
    )
    max_form_bytes: int = _row(
        1 << 20, "Largest form of a `POST _search`; a larger one gets 413.", unit="bytes", ge=1024
    )
    max_json_depth: int = _row(
        100,
        "Deepest nesting of a JSON body; a deeper one gets 413. No resource may be deeper than 100 levels.",
        unit="levels",
        ge=8,
        le=200,
    )
    max_bundle_entries: int = _row(
        10_000, "Most entries of a batch or transaction; more get 413.", unit="entries", ge=1
    )
    max_bundle_answer_bytes: int = _row(
        64 << 20, "Once a bundle's answers are as large, its further reads get 413.", unit="bytes", ge=1024
    )
    max_locks: int = _row(
        10_000, "Most identifiers and ids that one write names; more get 413.", unit="keys", ge=1, le=1_000_000
    )
    max_binary_bytes: int = _row(
        100 << 20, "Largest content of a Binary sent as it is; a larger one gets 413.", unit="bytes", ge=1024
    )
    object_grace: float = _row(
        86_400.0,
        "How long a content waits for the write it was sent for before it is taken away; no write may take longer.",
        unit="s",
        ge=3600,
    )
    default_page_size: int = _row(
        20, "Entries of a page of a search or history without `_count`.", unit="entries", ge=1
    )
    max_page_size: int = _row(1000, "Most entries of a page; a larger `_count` is lowered to it.", unit="entries", ge=1)
    if_match_required: bool = _row(False, "Refuse an update of an existing resource without `If-Match` (412).")
    max_conditional_delete: int = _row(
        1, "Most resources that one conditional delete may delete; more matches are refused (412).", ge=1, le=10_000
    )
    unknown_parameter: Literal["strict", "lenient"] = _row(
        "strict",
        "What a search does with an unknown parameter, unless `Prefer: handling` says: refuse it or ignore it.",
    )
    max_parameters: int = _row(100, "Most parameters of a search; more get 400.", unit="parameters", ge=1)
    max_filters: int = _row(
        20,
        "Most parameters of a search that filter; more get 400. Planning takes time that grows with their square.",
        unit="parameters",
        ge=1,
        le=100,
    )
    max_search_values: int = _row(
        2000, "Most values of a search, alternatives behind commas counted; more get 400.", unit="values", ge=1
    )
    max_includes: int = _row(50, "Most `_include` and `_revinclude` of a search; more get 400.", ge=0)
    max_chain_links: int = _row(
        64, "Most links of a search's chains, each type that a link branches to counted; more get 400.", ge=1
    )
    max_sorts: int = _row(8, "Most search parameters that one search is sorted by; more get 400.", ge=1)
    exact_total: int = _row(
        1000, "With `_total=estimate`, a search expected to find no more than this is counted.", unit="resources", ge=0
    )
    max_chain_types: int = _row(
        20, "Most types that a link may lead to without naming one; more get 400.", unit="types", ge=1
    )
    max_chain_targets: int = _row(
        5000, "Most resources that one link of a chained search may lead to; more get 400.", unit="resources", ge=1
    )
    max_included: int = _row(
        1000, "Most resources that one page includes beside its matches; the rest is left out and told.", ge=1
    )
    max_latest: int = _row(
        20_000,
        "Most resources of one patient that $lastn and $docref look through; more get 400.",
        unit="resources",
        ge=1,
    )
    max_expansion: int = _row(
        10_000, "Most codes of a value set or hierarchy that a search asks for; more get 400.", unit="codes", ge=1
    )
    max_words: int = _row(
        5000, "Different words of one resource that full text search knows; the rest are not found.", ge=0
    )
    kept_codes: int = _row(
        500_000, "Codes of value sets and code systems that each process keeps worked out.", unit="codes", ge=0
    )
    max_search_parameters: int = _row(
        500, "Most search parameters of its own that a tenant has; each costs every write of its type.", ge=0
    )
    index_batch: int = _row(
        200, "Resources that a worker indexes anew in one transaction.", unit="resources", ge=1, le=10_000
    )
    vacuum_after_load: int = _row(
        10_000, "`concord load` vacuums and analyses at its end when it loaded as many.", unit="resources", ge=1
    )
    backend_token_lifetime: int = _row(
        300, "Lifetime of an access token that a backend service gets for its assertion.", unit="s", ge=1, le=3600
    )
    token_lifetime: int = _row(3600, "Lifetime of an access token for which no other is asked.", unit="s", ge=1)

    mllp_max_message_bytes: int = _row(16 << 20, "Largest HL7 message taken by MLLP.", unit="bytes", ge=1024)
    mllp_max_connections: int = _row(256, "Most MLLP connections open at one time.", unit="connections", ge=1)
    mllp_idle_timeout: float = _row(900.0, "An MLLP connection silent for so long is closed.", unit="s", gt=0)
    ack_timeout: float = _row(
        20.0, "How long storing a message may take; its sender then gets AR and may send it again.", unit="s", gt=0
    )

    worker_concurrency: int = _row(
        4, "Transactions in which one worker processes messages at one time.", unit="transactions", ge=1, le=256
    )
    worker_together: int = _row(
        16,
        "Waiting messages that one transaction takes together, each of another patient.",
        unit="messages",
        ge=1,
        le=256,
    )
    poll_interval: float = _row(5.0, "How often a worker looks for work without being woken.", unit="s", gt=0)
    retry_attempts: int = _row(8, "Tries after which a message that fails for a passing reason is buried.", ge=1)
    retry_base: float = _row(1.0, "Wait before the second try; each later wait doubles.", unit="s", gt=0)
    retry_max: float = _row(300.0, "Longest wait between two tries.", unit="s", gt=0)

    log_level: Literal["debug", "info", "warning", "error"] = _row("info", "Lowest level that is logged.")
    log_format: Literal["console", "json"] = _row("console", "How a line is logged on standard error.")

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

    @field_validator("data_dir", "test_clock")
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
