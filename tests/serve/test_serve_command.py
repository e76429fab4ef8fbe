"""`poisonsieve serve`: what it refuses to start with, each in one line, and what deploy/ runs."""

import configparser
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from poisonsieve.errors import ConfigError
from poisonsieve.serve.auth import Keys
from poisonsieve.serve.running import is_loopback, secured
from poisonsieve.serve.service import shares
from poisonsieve.serve.settings import ServeSettings, make_settings

pytest_plugins = ["serving"]

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def refused(cli):
    """`refused(*args, says=(...))`: the command ends with code 2 and one line that holds each of those parts."""

    def call(*args, says):
        code, out, err = cli(*args)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        for part in [says] if isinstance(says, str) else says:
            assert part in err
        return err

    return call


@pytest.fixture
def start(served_guard, tiny, tmp_path):
    return ["serve", served_guard, "--victim", tiny("encoder"), "--port", 0, "--db", tmp_path / "q.sqlite"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], ("--api-key-file", "--insecure-no-auth")),
        (["--host", "::"], "--insecure-no-auth"),
        (["--api-key-file", "none.txt"], "cannot read the API keys"),
        (["--db", "mysql://h/d"], "SQLite or PostgreSQL"),
        (["--db", "postgresql://u:hunter22@127.0.0.1:9/d"], "check that the database is running"),
        (["--db", "/none/such/q.sqlite"], "cannot write the quarantine"),
        (["--backend", "onnx"], "choose torch or openvino"),
        (["--set", "max_texts=1"], "max_body_bytes"),
        (["--set", "api_keys=abc"], "--set api_keys=abc"),
        (["--set", "allowed_hosts=x"], "--set allowed_hosts"),
        (["--set", "max_body_bytes=none"], "max_body_bytes"),
        (["--set", "max_body_bytes=0"], "max_body_bytes"),
        (["--set", "commit_timeout_s=nan"], "commit_timeout_s"),
        (["--set", "workers=1", "--set", "workers=2"], ("workers is given twice", "give one value")),
        (["--max-queue", "10"], "max_request_texts"),
        (["--timeout", "0"], "request_timeout_s"),
        (["--keep-days", "-1"], "quarantine_max_days"),
        (["--max-batch", "0"], "--max-batch"),
        (["--port", "70000"], "--port"),
    ],
)
def test_a_wrong_option_is_named(options, says, start, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "hunter22" not in refused(*start, *options, says=says)


def test_a_guard_that_is_none_is_named_and_gets_no_database(start, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("serve", tmp_path, *start[2:], says="no guard folder")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_named_before_anything_is_loaded(start, refused):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        refused("serve", "nowhere", "--port", sock.getsockname()[1], says=("cannot listen", "--port"))


def test_keys_and_no_auth_contradict_each_other(start, refused, tmp_path, monkeypatch):
    monkeypatch.setenv("POISONSIEVE_API_KEYS", "a" * 20)
    refused(*start, "--insecure-no-auth", says="contradict")
    monkeypatch.setenv("POISONSIEVE_API_KEYS", "short")
    error = refused(*start, says="16 or more")
    assert "short" not in error


def test_help_has_an_example(cli):
    for command in ("serve", "recalibrate"):
        code, out, _ = cli(command, "--help")
        assert code == 0
        assert f"Example: poisonsieve {command}" in " ".join(out.split())


def test_batches_of_ever_new_shapes_do_not_fill_the_memory():
    code = """
import resource
import torch
from poisonsieve.serve.running import bound_kernel_cache

bound_kernel_cache()
with torch.inference_mode():
    for rows in range(1, 700):
        torch.nn.functional.gelu(torch.ones(rows, 64))
        if rows == 100:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60  # 150 with the cache as it comes


@pytest.mark.parametrize(
    ("workers", "cores", "each"),
    [(None, 1, [1]), (None, 2, [1, 1]), (None, 3, [2, 1]), (1, 8, [8]), (4, 2, [1] * 4), (3, 8, [3, 3, 2])],
)
def test_workers_share_all_cores(workers, cores, each, monkeypatch):
    monkeypatch.setattr("poisonsieve.serve.service.pick_device", lambda: torch.device("cpu"))
    assert shares(workers, cores) == each


def test_an_accelerator_has_one_worker(monkeypatch):
    monkeypatch.setattr("poisonsieve.serve.service.pick_device", lambda: torch.device("cuda"))
    assert shares(None, 8) == [8]
    assert shares(2, 8) == [4, 4]


def test_who_needs_keys():
    keyed = ServeSettings(api_keys=("k" * 20,))
    assert secured(keyed, "0.0.0.0", insecure=False) is keyed
    assert secured(ServeSettings(), "0.0.0.0", insecure=True).allowed_hosts is None
    assert "127.0.0.1" in secured(ServeSettings(), "127.0.0.1", insecure=False).allowed_hosts
    for host, loopback in [
        ("localhost", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
    ]:
        assert is_loopback(host) is loopback
    assert not is_loopback("example.org") and not is_loopback("localhost.example.org")


@pytest.mark.parametrize("content", ["", "# none\n\n", "short\n", "k" * 20 + " x\u00e9\n"])
def test_a_key_file_without_good_keys_is_refused(content, tmp_path):
    path = tmp_path / "keys"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        Keys(ServeSettings(api_key_file=path))


def test_settings_are_checked_together_and_do_not_show_keys():
    with pytest.raises(ConfigError, match="max_held_bytes"):
        make_settings(max_body_bytes=2**30)
    with pytest.raises(ConfigError, match="explain_words"):
        make_settings(explain_words=2000)
    with pytest.raises(ConfigError):
        make_settings(unknown=1)
    assert "kkkk" not in repr(ServeSettings(api_keys=("k" * 20,)))


def test_the_compose_file_runs_commands_that_exist():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"serve-1", "serve-2", "database", "prometheus"}
    options = known_options("serve")
    for name in ("serve-1", "serve-2"):
        service = compose["services"][name]
        assert {word for word in service["command"] if word.startswith("--")} <= options
        assert service["environment"]["POISONSIEVE_DB"].startswith("postgresql://")
        assert set(service["secrets"]) <= set(compose["secrets"])
        assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()
    for volume in compose["services"]["prometheus"]["volumes"][:2]:
        assert (DEPLOY / volume.partition(":")[0]).is_file()


def test_the_unit_and_the_container_run_commands_that_exist():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "poisonsieve.service")
    command = shlex.split(unit["Service"]["ExecStart"])
    container = (DEPLOY / "Containerfile").read_text()
    entry = re.search(r"ENTRYPOINT (\[.*\])", container).group(1)
    for words in (command, yaml.safe_load(entry)):
        assert words[0].endswith("/bin/poisonsieve") and words[1] == "serve"
        assert {word for word in words if word.startswith("--")} <= known_options("serve")
    assert int(unit["Service"]["TimeoutStopSec"]) > ServeSettings().shutdown_timeout_s


def test_prometheus_watches_the_replicas_and_alerts_on_metrics_that_exist(guarded, served_guard):
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for target in job["static_configs"][0]["targets"]:
        assert target.partition(":")[0] in compose["services"]
    monitoring = monitoring_of(guarded)
    monitoring.shed.labels("queue").inc()
    exposed = set(re.findall(r"^(poisonsieve_\w+)", monitoring.text().decode(), re.MULTILINE))
    rules = yaml.safe_load((DEPLOY / config["rule_files"][0]).read_text())["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"poisonsieve_\w+", rule["expr"])}
    assert used and used <= exposed


def test_every_metric_is_in_the_operations_guide(guarded, served_guard):
    monitoring = monitoring_of(guarded)
    guide = (DEPLOY.parent / "docs" / "guide" / "operations.md").read_text()
    names = {family.name for family in monitoring.registry.collect() if family.name.startswith("poisonsieve_")}
    assert len(names) > 15
    assert [name for name in sorted(names) if f"`{name}" not in guide] == []


def test_every_setting_is_in_the_guide():
    guide = (DEPLOY.parent / "docs" / "guide" / "serving.md").read_text()
    assert [name for name in ServeSettings.model_fields if f"`{name}`" not in guide and name != "allowed_hosts"] == []


def monitoring_of(guarded):
    """Every metric that the service has."""
    from sqlalchemy import create_engine

    from poisonsieve.serve.service import GuardService

    return GuardService(guarded, create_engine("sqlite://")).monitoring


def known_options(name):
    import typer

    from poisonsieve.cli.main import app

    command = typer.main.get_command(app).commands[name]
    return {option for parameter in command.params for option in parameter.opts}
