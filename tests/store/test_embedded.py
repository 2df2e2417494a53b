"""The embedded PostgreSQL: started, stopped, mended after every kind of death, and honest when it cannot run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fhir_server.store import embedded_process as processes
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres, connection_of
from fhir_server.store.embedded_settings import GIB, MIB, settings

EXTRA = {"shared_buffers": "32MB", "fsync": "off"}


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Give a data folder whose cluster was made, used and stopped."""
    folder = Path(tempfile.mkdtemp(prefix="concord-embedded-"))
    folder.chmod(0o711)
    with EmbeddedPostgres(folder / "data", EXTRA) as server, psycopg.connect(server.admin_dsn()) as admin:
        admin.execute("create table kept as select 42 as answer")
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    """Give a copy of it for one test, to damage at will."""
    subprocess.run(["cp", "-a", made, tmp_path / "data"], check=True)
    return tmp_path / "data"


def answer(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select answer from kept").fetchone()
    assert row
    return int(row[0])


def test_data_is_there_after_a_second_start(made: Path) -> None:
    with EmbeddedPostgres(made, EXTRA) as server:
        assert answer(server.admin_dsn()) == 42
        assert server.stop() == 0


def test_stop_does_not_wait_for_clients(made: Path) -> None:
    server = EmbeddedPostgres(made, EXTRA).start()
    with psycopg.connect(server.admin_dsn()) as client:
        client.execute("select 1")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")


def test_another_process_finds_the_running_server(made: Path) -> None:
    assert connection_of(made) is None
    with EmbeddedPostgres(made, EXTRA) as server:
        found = connection_of(made)
        assert found is not None
        assert found.admin_dsn() == server.admin_dsn()
        assert answer(found.admin_dsn()) == 42
    assert connection_of(made) is None


def test_a_folder_without_a_cluster_has_no_server(tmp_path: Path) -> None:
    assert connection_of(tmp_path) is None
    assert connection_of(tmp_path / "missing") is None


def test_a_second_server_on_the_folder_is_refused(made: Path) -> None:
    with EmbeddedPostgres(made, EXTRA) as server:
        with pytest.raises(EmbeddedError, match=f"another process .{os.getpid()}."):
            EmbeddedPostgres(made, EXTRA).start()
        assert answer(server.admin_dsn()) == 42


def test_it_cannot_be_reached_but_by_its_socket(made: Path) -> None:
    with EmbeddedPostgres(made, EXTRA) as server, psycopg.connect(server.admin_dsn()) as admin:
        rules = admin.execute("select type, auth_method, options from pg_hba_file_rules").fetchall()
        assert rules == [("local", "peer", ["map=concord"])]
        assert admin.execute("show listen_addresses").fetchone() == ("",)
        assert (made / "run").stat().st_mode & 0o777 == 0o700


SERVE = """
import sys, time
from pathlib import Path
from fhir_server.store.embedded import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1]), {"fsync": "off"}).start().pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_killed_parent_leaves_no_server_behind(data_dir: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", SERVE, data_dir], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout as said:
        pid = int(said.readline())
        parent.kill()
        parent.wait()
    end = time.monotonic() + 20
    while pid in processes.working_in(data_dir / "pg18") and time.monotonic() < end:
        time.sleep(0.02)
    assert processes.working_in(data_dir / "pg18") == []
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        assert answer(server.admin_dsn()) == 42


def test_a_server_left_running_is_replaced(data_dir: Path) -> None:
    first = EmbeddedPostgres(data_dir, EXTRA).start()
    left, held = first._process, first._lock
    assert left
    assert held
    held.close()
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        assert left.wait(10) == 0
        assert answer(server.admin_dsn()) == 42


def test_backends_that_outlived_their_server_are_ended(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, EXTRA).start()
    with psycopg.connect(server.admin_dsn()) as client:
        os.kill(client.info.backend_pid, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with EmbeddedPostgres(data_dir, EXTRA) as second:
            assert answer(second.admin_dsn()) == 42


@pytest.mark.parametrize("pid", ["{own}", "1", "", "nonsense", "999999999"])
def test_a_stale_pid_file_harms_nobody(data_dir: Path, pid: str) -> None:
    text = f"{pid.format(own=os.getpid())}\n{data_dir}/pg18\n" if pid else ""
    (data_dir / "pg18" / "postmaster.pid").write_text(text)
    assert connection_of(data_dir) is None
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        assert answer(server.admin_dsn()) == 42


def test_a_server_that_dies_is_noticed(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        assert server.exited() is None
        os.kill(server.pid, signal.SIGQUIT)
        end = time.monotonic() + 10
        while server.exited() is None and time.monotonic() < end:
            time.sleep(0.02)
        assert server.exited() is not None


@pytest.mark.parametrize("name", ["global/pg_control", "PG_VERSION"])
def test_a_truncated_file_is_told_and_nothing_stays_running(data_dir: Path, name: str) -> None:
    os.truncate(data_dir / "pg18" / name, 0)
    with pytest.raises(EmbeddedError, match="restore a backup"):
        EmbeddedPostgres(data_dir, EXTRA).start()
    assert processes.working_in(data_dir / "pg18") == []


def test_a_cluster_without_its_version_file_is_not_made_anew(data_dir: Path) -> None:
    (data_dir / "pg18" / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedError, match="damaged"):
        EmbeddedPostgres(data_dir, EXTRA).start()
    assert (data_dir / "pg18" / "base").is_dir()


def test_a_cluster_of_another_version_is_told(data_dir: Path) -> None:
    (data_dir / "pg18" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match="another major version"):
        EmbeddedPostgres(data_dir, EXTRA).start()


def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "data" / "pg18.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(tmp_path / "data", EXTRA) as server:
        assert psycopg.connect(server.admin_dsn()).close() is None
    assert not half.exists()


def test_a_wrong_setting_is_told_with_the_servers_own_words(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        EmbeddedPostgres(data_dir, {"shared_buffers": "many"}).start()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match="file"):
        EmbeddedPostgres(tmp_path / "file").start()


def test_what_is_not_running_has_no_address(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    assert server.stop() is None
    assert server.exited() is None
    for ask in (lambda: server.pid, server.admin_dsn):
        with pytest.raises(EmbeddedError, match="not running"):
            ask()


@pytest.mark.parametrize("name", ["with space and 'quote'", "\u00e9\u00df", "x" * 120])
def test_any_path_will_do(made: Path, tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / name
    subprocess.run(["cp", "-a", made, data_dir], check=True)
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        assert answer(server.admin_dsn()) == 42
        assert connection_of(data_dir) == server.connection
        place = server.connection.socket_dir
        assert place.stat().st_mode & 0o777 == 0o700
    if place.parent != data_dir:
        place.rmdir()


def test_a_folder_that_somebody_put_in_the_sockets_place_is_refused(made: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 120)
    subprocess.run(["cp", "-a", made, data_dir], check=True)
    with EmbeddedPostgres(data_dir, EXTRA) as server:
        place = server.connection.socket_dir
    place.rmdir()
    place.symlink_to(tmp_path)
    try:
        with pytest.raises(EmbeddedError, match="remove it"):
            EmbeddedPostgres(data_dir, EXTRA).start()
    finally:
        place.unlink()


@pytest.mark.parametrize("memory", [256 * MIB, 4 * GIB, 512 * GIB])
@pytest.mark.parametrize("disk", [GIB, 50 * GIB, 4000 * GIB])
def test_settings_fit_the_machine(memory: int, disk: int) -> None:
    found = settings(memory, disk)
    buffers = int(found["shared_buffers"].removesuffix("MB"))
    assert 64 <= buffers <= max(64, memory // MIB // 4)
    assert int(found["max_wal_size"].removesuffix("MB")) <= 8192
    assert int(found["min_wal_size"].removesuffix("MB")) <= int(found["max_wal_size"].removesuffix("MB"))
    assert int(found["effective_cache_size"].removesuffix("MB")) >= buffers
