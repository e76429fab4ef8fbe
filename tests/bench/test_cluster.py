"""The tiny grid on a Ray cluster of two nodes on this machine: the same numbers, also when a node is lost half-way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import finished_grid

ray = pytest.importorskip("ray")
RAY = Path(sys.executable).with_name("ray")
PORT = 6399
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ENVIRONMENT = {
    **os.environ,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # or it would depend on whether a token lies in this user's home
    "OMP_NUM_THREADS": "1",
    "RAY_raylet_start_wait_time_s": "300",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy rows, a grid file, and its results in this process."""
    return finished_grid(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def cluster():
    """Two nodes of one processor each: the head, and a raylet of its own process group, which can be killed."""
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--block", "--disable-usage-stats"]
    head = start([RAY, "start", "--head", f"--port={PORT}", "--include-dashboard=false", *common])
    second = None
    try:
        wait_for_nodes(1)
        second = start([RAY, "start", f"--address=127.0.0.1:{PORT}", *common])
        wait_for_nodes(2)
        yield second
    finally:
        for process in filter(None, (second, head)):
            stop(process)


def start(command) -> subprocess.Popen:
    return subprocess.Popen(
        command, start_new_session=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def stop(process: subprocess.Popen) -> None:
    """kill -9 everything that this node started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_nodes(count: int) -> None:
    connected = f"import ray; ray.init(address='127.0.0.1:{PORT}', log_to_driver=False)"
    probe = f"{connected}; print(sum(node['Alive'] for node in ray.nodes()))"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = subprocess.run([sys.executable, "-c", probe], env=ENVIRONMENT, capture_output=True, text=True)
        if done.returncode == 0 and int(done.stdout.split()[-1]) >= count:
            return
        time.sleep(2)
    raise AssertionError(f"{count} Ray nodes did not come up: {done.stderr[-500:]}")


def run(world, store) -> subprocess.Popen:
    command = [sys.executable, "-m", "poisonsieve.cli", "bench", "run", world / "grid.yaml", "--data-root", world]
    where = ["--out", store, "--engine", "ray", "--address", f"127.0.0.1:{PORT}", "--quiet"]
    return subprocess.Popen(
        [*command, *where], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def numbers(store):
    cells = json.loads((store / "grids/grid/results.json").read_text())["cells"]
    return [(cell["attack"], cell["defense"], cell["victim"], cell["metrics"]) for cell in cells]


def test_two_nodes_give_the_same_numbers_as_this_process(world, cluster, tmp_path):
    process = run(world, tmp_path / "store")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert numbers(tmp_path / "store") == numbers(world / "store")


def test_a_node_that_is_killed_half_way_costs_nothing_that_was_finished(world, cluster, tmp_path):
    process = run(world, tmp_path / "store")
    stages = tmp_path / "store" / "stages"
    while len(list(stages.rglob("run.json"))) < 4 and process.poll() is None:
        time.sleep(0.2)
    before = {path: path.stat().st_mtime_ns for path in stages.rglob("run.json")}
    assert process.poll() is None, "the grid was through before the node could be killed"
    stop(cluster)
    said, _ = process.communicate(timeout=800)
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert numbers(tmp_path / "store") == numbers(world / "store")
