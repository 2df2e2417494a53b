"""Settings: one table, read from the environment, wrong values named, secrets never shown."""

from __future__ import annotations

import base64
import re
import runpy
from pathlib import Path

import pytest
from pydantic import ValidationError

from fhir_server.settings import Settings, SettingsError, mask, unknown_variables, variable
from fhir_server.settings_mllp import ports_of

ROOT = Path(__file__).parent.parent
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def test_every_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_PORT", "0")
    monkeypatch.setenv("CONCORD_IF_MATCH_REQUIRED", "true")
    loaded = Settings.load()
    assert (loaded.port, loaded.if_match_required, loaded.mllp_port) == (0, True, 2575)


def test_a_flag_wins_over_the_environment_and_an_absent_flag_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_PORT", "9000")
    monkeypatch.setenv("CONCORD_HOST", "::1")
    loaded = Settings.load(port=9001, host=None)
    assert (loaded.port, loaded.host) == (9001, "::1")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_BROKER_URL", "")
    assert Settings.load().broker_url is None


def test_no_file_in_the_working_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CONCORD_PORT=1\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.load().port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "eighty"),
        ("database_url", "mysql://h/db"),
        ("broker_url", "kafka://h"),
        ("object_store", "/plain/path"),
        ("object_store", "s3://k:s@host-without-bucket"),
        ("base_url", "ftp://h"),
        ("base_url", "https://u:p@h"),
        ("base_url", "https://h?tenant=x"),
        ("master_key", "c2hvcnQ="),
        ("master_key", "not base64 at all"),
        ("retry_attempts", "0"),
        ("unknown_parameter", "maybe"),
        ("log_level", "loud"),
        ("env", "staging"),
    ],
)
def test_a_wrong_value_is_refused_by_the_variables_name_without_the_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert str(refused.value).startswith(f"{variable(name)}: ")
    assert value not in str(refused.value)
    assert refused.value.__cause__ is None


def test_every_wrong_value_is_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"CONCORD_PORT: .*\n*CONCORD_RETRY_ATTEMPTS: "):
        Settings.load(port=-1, retry_attempts=0)


@pytest.mark.parametrize(("low", "high"), [("pool_min_size", "pool_max_size"), ("default_page_size", "max_page_size")])
def test_a_least_value_over_its_largest_is_refused(low: str, high: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable(low)} must not be larger than {variable(high)}"):
        Settings.load(**{low: 9, high: 8})


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(SettingsError, match="CONCORD_PROT"):
        Settings.load(prot=1)


def test_the_clock_may_be_moved_only_in_a_test(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CONCORD_TEST_CLOCK is refused unless CONCORD_ENV=test"):
        Settings.load(test_clock=tmp_path / "now")
    assert Settings.load(test_clock=tmp_path / "now", env="test").test_clock == tmp_path / "now"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings.load().port = 1


def test_evolve_makes_a_checked_copy() -> None:
    first = Settings.load(database_url="postgresql://h/db", port=1)
    assert first.evolve(database_url=None).database_url is None
    assert first.evolve(base_url="https://clinic.example/").base_url == "https://clinic.example"
    assert first.evolve(base_url="https://clinic.example").port == 1
    with pytest.raises(SettingsError):
        first.evolve(port=-1)


def test_objects_live_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    assert Settings.load(data_dir=tmp_path).object_store == (tmp_path / "objects").as_uri()
    assert Settings.load(data_dir=tmp_path, object_store="s3://k:s@h:9/b").object_store == "s3://k:s@h:9/b"


def test_a_relative_data_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.load(data_dir="here").data_dir == tmp_path / "here"


def test_an_ordinary_users_data_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings.load().data_dir == tmp_path / "concord"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings.load().data_dir == tmp_path / "home" / ".local" / "share" / "concord"


def test_roots_data_folder_is_the_systems() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 0)
        assert Settings.load().data_dir == Path("/var/lib/concord")


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Settings.load(port=0, master_key=KEY, if_match_required=True, database_url="host=h dbname=d")
    for name, value in parent.environ().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == parent


def test_a_child_process_keeps_the_rest_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_OTHER", "kept")
    monkeypatch.setenv("CONCORD_DATABASE_URL", "postgresql://h/db")
    environ = Settings.load().evolve(database_url=None).environ()
    assert environ["SOME_OTHER"] == "kept"
    assert "CONCORD_DATABASE_URL" not in environ


def test_a_child_process_never_gets_the_owners_database() -> None:
    given = Settings.load(migrate_database_url="postgresql://owner:s3cret@h/db").environ()
    assert "s3cret" not in "".join(given.values())


def test_secrets_are_masked_wherever_settings_are_printed() -> None:
    loaded = Settings.load(
        master_key=KEY,
        database_url="postgresql://concord:s3cret@h/db",
        migrate_database_url="host=h password='s3 cret' dbname=d",
        broker_url="amqp://u:s3/cr@et@h//",
        object_store="s3://id:s3cret@h:9000/b",
    )
    for shown in (repr(loaded), str(loaded), str(loaded.masked()), f"{loaded}"):
        assert KEY not in shown
        assert not re.search(r"s3 ?cret|cr@et|et@h", shown)
        assert "postgresql://concord:**********@h/db" in shown


@pytest.mark.parametrize("text", ["postgresql://h/db", "host=h dbname=d", "redis://h:6379/0", "plain"])
def test_text_without_a_password_is_shown_as_it_is(text: str) -> None:
    assert mask(text) == text


def test_variables_that_are_no_setting_are_found() -> None:
    environ = {"CONCORD_PROT": "1", "CONCORD_PORT": "2", "concord_hots": "x", "PATH": "/bin"}
    assert unknown_variables(environ) == ["CONCORD_PROT", "concord_hots"]


def test_every_setting_is_described_with_one_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert re.fullmatch(r"[^\n]{15,118}\.", field.description or ""), name


def test_every_setting_that_is_not_reserved_is_read_by_some_part() -> None:
    code = "".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "fhir_server").rglob("*.py")
        if file != ROOT / "fhir_server" / "settings.py"
    )
    unread = {name for name in Settings.model_fields if not re.search(rf"\.{name}\b", code)}
    reserved = {
        n for n, f in Settings.model_fields.items() if (f.description or "").startswith("Reserved, not read yet:")
    }
    assert unread == reserved


def test_the_page_of_settings_is_current_and_names_every_setting() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    tool = runpy.run_path(str(ROOT / "tools" / "settings_doc.py"))
    assert page == tool["page"](), "run tools/settings_doc.py"
    assert re.findall(r"^\| `(CONCORD_\w+)`", page, re.M) == [variable(name) for name in Settings.model_fields]


def test_no_other_module_reads_the_environment() -> None:
    reads = re.compile(r"\bos\.(environ|getenv)\b")
    for package in ("fhir_server", "adapters", "mappings", "conformance"):
        for file in (ROOT / package).rglob("*.py"):
            if file.parent != ROOT / "fhir_server" or not file.name.startswith("settings"):
                assert not reads.search(file.read_text(encoding="utf-8")), file


def test_the_certificate_of_mllp_its_key_and_the_authorities_of_senders_belong_together(tmp_path: Path) -> None:
    (tmp_path / "a.pem").touch()
    file = tmp_path / "a.pem"
    with pytest.raises(SettingsError, match="CONCORD_MLLP_TLS_CERT and CONCORD_MLLP_TLS_KEY are given together"):
        Settings.load(mllp_tls_cert=file)
    with pytest.raises(SettingsError, match="CONCORD_MLLP_TLS_AUTHORITIES is of use with CONCORD_MLLP_TLS_CERT"):
        Settings.load(mllp_tls_authorities=file)
    with pytest.raises(SettingsError, match="CONCORD_MLLP_TLS_KEY: must name a file that is there"):
        Settings.load(mllp_tls_cert=file, mllp_tls_key=tmp_path / "missing")
    assert Settings.load(mllp_tls_cert=file, mllp_tls_key=file, mllp_tls_authorities=file).mllp_tls_port == 2576


def test_ports_of_channels_are_ports_and_ranges() -> None:
    assert ports_of("2600-2602, 3000") == (range(2600, 2603), range(3000, 3001))
    assert ports_of("") == ()
    for wrong in ("0", "70000", "3000-2000", "a-b", "1-2-3"):
        with pytest.raises(SettingsError, match="CONCORD_MLLP_CHANNEL_PORTS: must be ports and ranges of ports"):
            Settings.load(mllp_channel_ports=wrong)
