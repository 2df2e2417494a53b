"""Settings of where things are: data, database, objects, addresses and processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

from fhir_server.settings_row import row

PREFIX = "CONCORD_"


def _user_data_dir() -> Path:
    """Return the folder where this platform keeps a user's data; a service run by root keeps the system's state."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/concord")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "concord"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "concord"


def _objects_under(values: dict[str, Any]) -> str:
    return Path(values["data_dir"] / "objects").as_uri()


class BasicSettings(BaseSettings):
    """Where things are."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    env: Literal["production", "test"] = row("production", "`test` allows what only a test may do: a moved clock.")
    test_clock: Path | None = row(
        None, "File with the ISO time that is used as now; refused unless `CONCORD_ENV=test`."
    )

    data_dir: Path = row(
        _user_data_dir,
        "Folder for all that the installation keeps on this machine, the embedded PostgreSQL included.",
        shown="the user's data folder (`~/.local/share/concord`); as root `/var/lib/concord`",
    )
    database_url: str | None = row(
        None, "PostgreSQL as the server's own role; without it the embedded PostgreSQL runs in the data folder."
    )
    migrate_database_url: str | None = row(
        None, "PostgreSQL as the owner or a superuser, used only by `concord migrate`; never give it to a server."
    )
    pool_min_size: int = row(1, "Database connections that each process keeps open.", unit="connections", ge=1)
    pool_max_size: int = row(10, "Most database connections of one process.", unit="connections", ge=1)
    pool_timeout: float = row(
        10.0, "How long a request waits for a database connection to be free; then it gets 503.", unit="s", gt=0
    )
    statement_timeout: float = row(30.0, "Longest run of one SQL statement; then the client gets 503.", unit="s", gt=0)
    slow_search_ms: int = row(
        1000, "A search statement that takes longer is logged with its plan, without values.", unit="ms", ge=1
    )
    slow_searches_per_minute: int = row(
        10, "Most slow searches that one process logs in a minute; 0 logs none.", unit="lines", ge=0
    )
    lock_timeout: float = row(
        10.0, "How long a write waits for another of the same resource; then it gets 503.", unit="s", gt=0
    )
    lost_after: float = row(
        60.0,
        "Both sides give up a database connection after so long without a sign of life, or idle within a transaction.",
        unit="s",
        ge=3,
    )
    broker_url: str | None = row(
        None,
        "Redis or RabbitMQ that carries wake-ups to workers on other machines; without it PostgreSQL carries them.",
    )
    object_store: str = row(
        _objects_under,
        "Contents of Binaries: `file:///FOLDER` or `s3://KEY:SECRET@HOST:PORT/BUCKET`; also `?tls=false`, `?region=`.",
        shown="the folder `objects` in the data folder",
    )

    base_url: str | None = row(
        None,
        "Public address before `/{tenant}`: the only source of issuer, audience and links.",
        shown="`http://HOST:PORT` as `concord serve` chose them",
    )
    host: str = row("127.0.0.1", "Address on which HTTP listens.")
    port: int = row(8080, "Port on which HTTP listens; 0 takes a free one.", ge=0, le=65535)
    http_workers: int = row(1, "HTTP processes; about one per core serves best.", unit="processes", ge=1, le=256)
    mllp_host: str = row("127.0.0.1", "Address on which MLLP listens.")
    mllp_port: int = row(2575, "Port on which MLLP listens; 0 takes a free one.", ge=0, le=65535)
    mllp_tenant: str | None = row(None, "Name of the tenant that messages on the MLLP port belong to.")
    stop_timeout: float = row(15.0, "How long a stopping process may finish what it began.", unit="s", gt=0)
