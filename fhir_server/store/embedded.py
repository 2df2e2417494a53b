"""PostgreSQL in the data folder: our child process, reachable by this operating-system user alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import psycopg
from psycopg import conninfo, sql

from fhir_server.store import embedded_account as accounts
from fhir_server.store import embedded_process as processes
from fhir_server.store.embedded_account import Account, EmbeddedError
from fhir_server.store.embedded_binaries import SYSTEM_STATE, programs
from fhir_server.store.embedded_settings import memory_of_machine, settings

DATABASE = "concord"
ADMIN_ROLE, OWNER_ROLE, SERVER_ROLE = "postgres", "concord_owner", "concord_server"
CLUSTER = "pg18"
PORT = 5432
# The kernel's limit for the path of a socket, with the name PostgreSQL gives it: unix(7).
_SOCKET_PATH_LIMIT = 107
_SPACE_FOR_A_CLUSTER = 200 << 20
_LARGEST_LOG = 16 << 20

__all__ = ["Connection", "EmbeddedError", "EmbeddedPostgres", "connection_of"]


class Connection(msgspec.Struct, frozen=True):
    """How to reach a running embedded PostgreSQL."""

    socket_dir: Path
    server_user: str

    def dsn(self, role: str, database: str = DATABASE) -> str:
        """Return the connection string; libpq checks that the answering process belongs to the right user."""
        return conninfo.make_conninfo(
            host=str(self.socket_dir), port=PORT, dbname=database, user=role, requirepeer=self.server_user
        )

    def admin_dsn(self, database: str = DATABASE) -> str:
        """Return the superuser's connection string, for migrations and tests."""
        return self.dsn(ADMIN_ROLE, database)

    def server_dsn(self, database: str = DATABASE) -> str:
        """Return the connection string of the server's own role, which owns nothing."""
        return self.dsn(SERVER_ROLE, database)


def connection_of(data_dir: Path) -> Connection | None:
    """Return how to reach the PostgreSQL that some process runs in this data folder, or None."""
    cluster = data_dir.resolve() / CLUSTER
    try:
        owner = accounts.for_server(cluster) if cluster.exists() else None
    except PermissionError as denied:
        raise EmbeddedError(f"no permission to look into {data_dir}: run as its owner or as root") from denied
    if owner is None or not processes.ready(cluster):
        return None
    place = _socket_dir(data_dir.resolve(), owner)
    return Connection(place, owner.name) if _answers(place) else None


class EmbeddedPostgres:
    """One PostgreSQL cluster in `data_dir`, from `start()` to `stop()`; also a context manager.

    Start it from a thread that lives as long as it should: the kernel ties it to that thread.
    """

    def __init__(
        self,
        data_dir: Path,
        extra: Mapping[str, str] | None = None,
        start_timeout: float = 120.0,
        system_state: Path = SYSTEM_STATE,
    ) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / CLUSTER
        self._extra = dict(extra or {})
        self._start_timeout = start_timeout
        self._system_state = system_state
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: BinaryIO | None = None
        self._connection: Connection | None = None

    def start(self) -> Self:
        """Start PostgreSQL, on first use after making its cluster. Raises EmbeddedError, leaving nothing running."""
        try:
            self._lock = _locked(self.data_dir)
            self._start()
        except OSError as failure:
            self.stop()
            raise EmbeddedError(
                f"{failure.filename or self.data_dir}: {processes.advised(str(failure.strerror))}"
            ) from failure
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout: float = 30.0) -> int | None:
        """Stop PostgreSQL and give the folder free. Returns its exit status, None if it did not run."""
        status = None
        if self._process is not None:
            status, self._process = processes.stop(self._process, timeout), None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._connection = None
        return status

    def exited(self) -> int | None:
        """Return the exit status if PostgreSQL died by itself, None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def pid(self) -> int:
        """Return the process number of the running server. Raises EmbeddedError when it is not running."""
        if self._process is None:
            raise EmbeddedError("PostgreSQL is not running")
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """Return how to reach it. Raises EmbeddedError when it is not running."""
        if self._connection is None:
            raise EmbeddedError("PostgreSQL is not running")
        return self._connection

    def admin_dsn(self, database: str = DATABASE) -> str:
        """Return the superuser's connection string."""
        return self.connection.admin_dsn(database)

    def server_dsn(self, database: str = DATABASE) -> str:
        """Return the connection string of the server's own role."""
        return self.connection.server_dsn(database)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        account = accounts.for_server(self.cluster)
        place = _socket_dir(self.data_dir, account)
        binaries = programs(account, self.data_dir, self._system_state)
        _own_folder(place, account)
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster(binaries, account)
        processes.stop_left_behind(self.cluster)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (place / name).unlink(missing_ok=True)
        _write_access(self.cluster, account)
        self._spawn(binaries, account, place)
        self._connection = Connection(place, account.name)
        _ensure_database(self._connection)

    def _make_cluster(self, binaries: Path, account: Account) -> None:
        """Run initdb under a temporary name: a half-made cluster never carries the final one."""
        if self.cluster.exists():
            raise EmbeddedError(f"{self.cluster} has no PG_VERSION: it is damaged; move it away or restore a backup")
        free = shutil.disk_usage(self.data_dir).free
        if free < _SPACE_FOR_A_CLUSTER:
            raise EmbeddedError(f"{self.data_dir}: {free >> 20} MiB free, {_SPACE_FOR_A_CLUSTER >> 20} MiB needed")
        new = self.cluster.with_name(f"{CLUSTER}.new")
        shutil.rmtree(new, ignore_errors=True)
        _own_folder(new, account)
        launch, (folder,) = _launch(account, new)
        encoding = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--auth-local=peer", "--auth-host=reject", "--no-instructions")
        processes.run(launch, binaries / "initdb", "-D", folder, "-U", ADMIN_ROLE, *encoding, *access)
        os.rename(new, self.cluster)

    def _spawn(self, binaries: Path, account: Account, place: Path) -> None:
        launch, (cluster, sockets) = _launch(account, self.cluster, place)
        argv: list[str | Path] = [binaries / "postgres", "-D", cluster, "-k", sockets]
        sized = settings(memory_of_machine(), shutil.disk_usage(self.data_dir).free)
        for name, value in (sized | self._extra).items():
            argv += ["-c", f"{name}={value}"]
        path = self.data_dir / "postgres.log"
        if path.exists() and path.stat().st_size > _LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            start = log.tell()
            self._process = processes.spawn(launch, argv, log)
        self._wait_ready(path, start)

    def _wait_ready(self, log: Path, start: int) -> None:
        end = time.monotonic() + self._start_timeout
        while not (processes.ready(self.cluster) and processes.postmaster(self.cluster) == self.pid):
            if (status := self.exited()) is not None:
                said = log.read_bytes()[start:].decode("utf-8", "replace").strip()
                raise EmbeddedError(f"PostgreSQL did not start (exit {status}): {processes.advised(said)}")
            if time.monotonic() > end:
                raise EmbeddedError(f"PostgreSQL was not ready after {self._start_timeout:.0f} s; see {log}")
            time.sleep(0.005)


def _locked(data_dir: Path) -> BinaryIO:
    """Take the lock of the folder; the kernel frees it when we die, also by kill -9. Raises EmbeddedError."""
    # Root's PostgreSQL runs as another user, who has to pass through the folder but not to list it.
    data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    lock = open(os.open(data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+b")  # noqa: SIM115 - held
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = lock.read().decode("ascii", "replace").strip()
        lock.close()
        raise EmbeddedError(
            f"another process ({holder or 'unknown'}) runs PostgreSQL in {data_dir}: stop it or choose another folder"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()
    return lock


def _socket_dir(data_dir: Path, account: Account) -> Path:
    """Return the folder of the socket: beside the data, or, where that path is too long, a short one of our own."""
    place = data_dir / "run"
    if len(os.fsencode(place / f".s.PGSQL.{PORT}.lock")) <= _SOCKET_PATH_LIMIT:
        return place
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    # Not the TMPDIR of one process: another one has to find the same place.
    return Path("/tmp") / f"concord-{account.uid}-{digest}"  # noqa: S108 - owner and mode are checked


def _own_folder(path: Path, account: Account) -> None:
    """Make a folder that the account alone can enter. Raises EmbeddedError where somebody else made it first."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if path.is_symlink() or not path.is_dir() or found.st_uid not in (account.uid, os.geteuid()):
        raise EmbeddedError(f"{path} is not a folder of user {account.name}: remove it")
    if found.st_uid != account.uid:
        os.chown(path, account.uid, account.gid)
    path.chmod(0o700)


def _launch(account: Account, *folders: Path) -> tuple[processes.Launch, list[str]]:
    """Return how to run a program on these folders and the words for them, open descriptors where out of reach."""
    if account.uid == os.geteuid() or all(accounts.reaches(account, folder) for folder in folders):
        return processes.Launch(account), [str(folder) for folder in folders]
    if not os.path.isdir("/proc/self/fd"):
        raise EmbeddedError(f"user {account.name} cannot reach {folders[0]}: choose a folder under /var/lib")
    named = {f"folder{number}": str(folder) for number, folder in enumerate(folders)}
    return processes.Launch(account, named), ["{" + name + "}" for name in named]


def _write_access(cluster: Path, account: Account) -> None:
    """Say who may connect: this operating-system user, under the roles named here, over the socket. Nobody else."""
    quoted = accounts.own().name.replace('"', '""')
    rules = f"local all {ADMIN_ROLE},{SERVER_ROLE} peer map=concord\n"
    users = "".join(f'concord "{quoted}" {role}\n' for role in (ADMIN_ROLE, SERVER_ROLE))
    for name, text in (("pg_hba.conf", rules), ("pg_ident.conf", users)):
        new = cluster / f"{name}.new"
        new.write_text(text)
        os.chown(new, account.uid, account.gid)
        new.chmod(0o600)
        os.replace(new, cluster / name)


def _answers(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(place / f".s.PGSQL.{PORT}"))
        except OSError:
            return False
    return True


def _ensure_database(connection: Connection) -> None:
    with psycopg.connect(connection.admin_dsn("postgres"), autocommit=True) as admin:
        if admin.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone() is None:
            admin.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
