"""docker-compose.yml is held to the table of settings and to the house's rules. https://docs.docker.com/reference/compose-file/"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from typer.main import get_command

from fhir_server.cli import app
from fhir_server.settings import Settings, unknown_variables, variable
from tests.house.tree import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if str(service["image"]).startswith("concord-fhir:")}
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def filled(value: str) -> str:
    """Return the value as compose would fill it in from an environment with every variable set."""
    value = re.sub(r"\$\{MASTER_KEY:\?[^}]*\}", KEY, value)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", re.sub(r"\$\{\w+:\?[^}]*\}", "chosen-one", value))


def test_every_part_of_the_installation_is_there() -> None:
    assert set(SERVICES) == {"postgres", "rabbitmq", "objects", "bucket", "migrate", "http", "mllp", "worker"}
    assert {name: service["command"] for name, service in OURS.items()} == {n: [n] for n in OURS}
    assert set(OURS) == {"migrate", "http", "mllp", "worker"}


def test_every_command_is_one_of_concords() -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    checks = [service["healthcheck"]["test"] for service in OURS.values() if "healthcheck" in service]
    asked = {service["command"][0] for service in OURS.values()} | {c[2] for c in checks if c[1] == "concord"}
    assert asked == {"migrate", "http", "mllp", "worker", "check"}
    assert asked <= commands


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_its_value_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in Settings.model_fields:
        monkeypatch.delenv(variable(setting), raising=False)
    given = {key: filled(value) for key, value in environment(OURS[name]).items()}
    assert given
    assert unknown_variables(given) == []
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    loaded = Settings.load()
    assert loaded.database_url is not None
    assert loaded.env == "production"


def test_the_owners_database_url_is_given_to_migrate_alone() -> None:
    holders = [name for name in SERVICES if "CONCORD_MIGRATE_DATABASE_URL" in environment(SERVICES[name])]
    assert holders == ["migrate"]


def test_every_secret_comes_from_the_environment_and_is_required() -> None:
    secret = re.compile(r"PASS|KEY|SECRET|_URL|STORE$")
    for name, service in SERVICES.items():
        for key, value in environment(service).items():
            if secret.search(key) and key != "CONCORD_BASE_URL":
                assert re.search(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {key}"
            assert not re.search(r"://\w+:[^$@]+@", value), f"{name}: {key}"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_lasting_service_has_a_health_check_and_is_restarted(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_runs_as_root_or_with_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert str(service["user"]).split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_has_a_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.search(r"\d", tag)
    assert "latest" not in tag


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_open_port_is_bound_to_the_machine_itself(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("name", ["http", "mllp", "worker"])
def test_a_server_starts_after_the_migration_and_what_it_stands_on(name: str) -> None:
    waits = SERVICES[name]["depends_on"]
    assert waits["migrate"] == {"condition": "service_completed_successfully"}
    assert waits["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize(("name", "port"), [("http", "port"), ("mllp", "mllp_port")])
def test_the_published_port_is_the_one_the_server_listens_on(name: str, port: str) -> None:
    [published] = SERVICES[name]["ports"]
    assert published.rsplit(":", 1)[1] == environment(SERVICES[name])[variable(port)]
    assert published.rsplit(":", 1)[1] in " ".join(SERVICES[name]["healthcheck"]["test"])


def test_every_wait_is_for_a_service_and_every_volume_is_declared() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])


def test_the_image_is_built_from_pinned_versions_and_runs_as_an_ordinary_user() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    assert all(re.match(r"\S+:\S*\d\S* AS \w+\n", stage) for stage in stages)
    assert "--require-hashes -r requirements/runtime.txt" in text
    for name, service in SERVICES.items():
        if "build" in service:
            [stage] = [s for s in stages if re.match(rf"\S+ AS {service['build']['target']}\n", s)]
            assert f"USER {service['user']}\n" in stage, name
