"""Who may reach the embedded PostgreSQL: root under a user of its own, nobody else. Needs root to become others."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fhir_server.store import embedded_account as accounts
from fhir_server.store import embedded_binaries as binaries
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another operating-system user"),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc and setuid as on Linux"),
]
EXTRA = {"shared_buffers": "32MB", "fsync": "off"}
# Everything is imported while still root: the other user may not reach this Python at all.
AS_ANOTHER = """
import os, sys, psycopg
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
try:
    psycopg.connect(sys.argv[3]).close()
    print("connected")
except psycopg.OperationalError as failure:
    print(failure)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="concord-access-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(home / "data", EXTRA) as running:
        yield running


def attempt(user: pwd.struct_passwd, dsn: str) -> str:
    argv = [sys.executable, "-c", AS_ANOTHER, str(user.pw_uid), str(user.pw_gid), dsn]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def others(server: EmbeddedPostgres) -> list[pwd.struct_passwd]:
    owner = server.cluster.stat().st_uid
    return [user for user in pwd.getpwall() if user.pw_uid not in (0, owner)][:2]


@pytest.mark.parametrize("role", ["postgres", "concord_server", "concord_owner"])
def test_another_user_cannot_connect(server: EmbeddedPostgres, role: str) -> None:
    for user in others(server):
        assert "Permission denied" in attempt(user, server.connection.dsn(role))


@pytest.mark.parametrize("role", ["postgres", "concord_server", "concord_owner"])
def test_another_user_is_refused_even_where_the_socket_is_laid_open(server: EmbeddedPostgres, role: str) -> None:
    place = server.connection.socket_dir
    socket = place / ".s.PGSQL.5432"
    place.chmod(0o755)
    socket.chmod(0o777)
    try:
        for user in others(server):
            said = attempt(user, server.connection.dsn(role))
            assert "Peer authentication failed" in said or "no pg_hba.conf entry" in said
    finally:
        socket.chmod(0o700)
        place.chmod(0o700)


def test_the_user_that_postgresql_runs_under_cannot_connect_either(server: EmbeddedPostgres) -> None:
    user = pwd.getpwuid(server.cluster.stat().st_uid)
    assert "Peer authentication failed" in attempt(user, server.admin_dsn())


def test_root_connects_and_postgresql_does_not_run_as_root(server: EmbeddedPostgres) -> None:
    psycopg.connect(server.admin_dsn()).close()
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_a_client_is_not_fooled_by_a_server_of_another_user(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="requirepeer"):
        psycopg.connect(
            server.admin_dsn(), requirepeer="nobody" if server.connection.server_user != "nobody" else "daemon"
        )


def test_a_data_folder_inside_a_closed_one_works_and_opens_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = {folder: folder.stat().st_mode for folder in (closed, *closed.parents)}
    with EmbeddedPostgres(closed / "data", EXTRA) as first:
        psycopg.connect(first.admin_dsn()).close()
    with EmbeddedPostgres(closed / "data", EXTRA) as second:
        psycopg.connect(second.admin_dsn()).close()
    assert {folder: folder.stat().st_mode for folder in before} == before


def test_binaries_in_a_closed_home_are_copied_once_beside_the_data(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is copied into a closed folder, as if its virtual environment lay there."""
    package = binaries.in_wheel().parent.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in (package / "pginstall18", package.with_name(f"{package.name}.libs")):
        target = closed / folder.relative_to(package.parent)
        shutil.copytree(folder, target)
    monkeypatch.setattr(binaries, "in_wheel", lambda: closed / package.name / "pginstall18" / "bin")
    places = []
    for _ in range(2):
        with EmbeddedPostgres(home / "copied", EXTRA) as server:
            psycopg.connect(server.admin_dsn()).close()
            places.append((os.readlink(f"/proc/{server.pid}/exe"), Path(f"/proc/{server.pid}/exe").stat().st_ctime))
    assert places[0][0].startswith(f"{home}/copied/postgresql/")
    assert places[0] == places[1]
    writable = [p for p in (home / "copied" / "postgresql").rglob("*") if p.stat().st_mode & 0o022 or p.stat().st_uid]
    assert writable == []


def test_where_the_data_is_closed_too_binaries_go_to_the_systems_state(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = accounts._existing("nobody")
    assert nobody
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").mkdir()
    (closed / "bin" / "postgres").touch()
    monkeypatch.setattr(binaries, "in_wheel", lambda: closed / "bin")
    monkeypatch.setattr(binaries, "_copy_parts", lambda package, new: (new / "made").touch())
    place = binaries.programs(nobody, closed / "data", home / "state")
    assert place.is_relative_to(home / "state" / "postgresql")
    assert [p.name for p in (home / "state" / "postgresql").rglob("made")] == ["made"]
    with pytest.raises(EmbeddedError, match="CONCORD_DATABASE_URL"):
        binaries.programs(nobody, closed / "data", closed / "state")


def test_the_owner_of_existing_data_runs_it(home: Path) -> None:
    with EmbeddedPostgres(home / "owned", EXTRA):
        pass
    cluster = home / "owned" / "pg18"
    nobody = pwd.getpwnam("nobody")
    subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", cluster, home / "owned" / "run"], check=True)
    with EmbeddedPostgres(home / "owned", EXTRA) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid
    subprocess.run(["chown", "-R", "0:0", cluster], check=True)
    with pytest.raises(EmbeddedError, match="belongs to root"):
        EmbeddedPostgres(home / "owned", EXTRA).start()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        with pytest.raises(EmbeddedError, match="MiB needed"):
            EmbeddedPostgres(disk / "data", EXTRA).start()
    finally:
        subprocess.run(["umount", disk], check=True)


AS_ORDINARY = """
import os, pwd, sys
from pathlib import Path
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres, connection_of
user = pwd.getpwnam("nobody")
os.setgroups([]); os.setgid(user.pw_gid); os.setuid(user.pw_uid)
for ask in (lambda: EmbeddedPostgres(Path(sys.argv[1])).start(), lambda: connection_of(Path(sys.argv[1]))):
    try:
        print(ask())
    except EmbeddedError as failure:
        print("told:", failure)
"""


def test_an_ordinary_user_on_roots_folder_is_told(home: Path, server: EmbeddedPostgres) -> None:
    argv = [sys.executable, "-c", AS_ORDINARY, str(server.data_dir)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len([line for line in said if line.startswith("told: ")]) == 2
