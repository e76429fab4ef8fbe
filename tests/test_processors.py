"""How many threads the command line computes with."""

import os
import subprocess
import sys
import time

import pytest
import torch

from poisonsieve.processors import Processors, threads_for

CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity can be set on Linux only")


def python(code: str, *args: str, processor: int | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which nothing is chosen but these variables, on one processor if it is named."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN} | variables
    pinned = "" if processor is None else f"import os; os.sched_setaffinity(0, [{processor}])\n"
    command = [sys.executable, "-c", pinned + code, *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture
def processor() -> int:
    """A processor that this process may run on."""
    return min(os.sched_getaffinity(0))


@pytest.fixture
def machine(tmp_path):
    """`machine({path: content, ...})` -> a root folder with these files."""

    def make(files: dict[str, str]):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("allowed", "quota", "busy", "most", "threads"),
    [
        (8, None, None, 8, 8),
        (8, None, 0.1, 8, 8),
        (8, None, 2.9, 8, 5),
        (8, None, 0.1, 4, 4),  # two processors are one core
        (2, None, 1.0, 2, 1),
        (2, None, 2.0, 2, 1),  # never none
        (64, 2.0, 10.0, 32, 2),
        (64, 2.0, 63.0, 32, 1),
        (64, 0.5, 0.0, 32, 1),
    ],
)
def test_threads_are_what_is_free_and_at_least_one(allowed, quota, busy, most, threads):
    assert threads_for(allowed, quota, busy, most) == threads


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/system.slice/guard.service\n",
                "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/system.slice/guard.service/cpu.max": "300000 100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/docker/1f\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (  # inside a container: the group has the host's name, and its files are on top
            {
                "proc/self/cgroup": "2:cpu:/kubepods/pod7\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            },
            2.0,
        ),
    ],
    ids=["no groups", "no limit", "version 2", "a group above", "version 1", "container"],
)
def test_quotas_of_control_groups_count(machine, files, quota):
    assert Processors(machine(files)).quota == quota


@linux
@pytest.mark.parametrize(
    ("field", "busy"),
    [("user", True), ("system", True), ("steal", True), ("nice", True), ("idle", False), ("iowait", False)],
)
def test_work_of_any_priority_keeps_a_processor_busy_and_waiting_does_not(machine, processor, field, busy):
    def stat(**ticks: int) -> dict[str, str]:
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        values = " ".join(str(ticks.get(name, 0)) for name in names)
        return {"proc/stat": f"cpu  {values}\ncpu{processor} {values}\nintr 0\n"}

    processors = Processors(machine(stat()))
    time.sleep(0.05)
    machine(stat(**{field: 100_000}))
    assert processors.busy() == (len(processors.allowed) if busy else 0)


def test_load_that_the_system_does_not_tell_is_unknown(machine):
    assert Processors(machine({})).busy() is None


@linux
def test_another_process_on_the_same_processor_is_noticed_and_own_work_is_not(processor):
    spins = "import time\nend = time.time() + {}\nwhile time.time() < end: pass"
    looks = "from poisonsieve.processors import Processors\np = Processors()\n{}\nprint(p.busy())"
    pinned = f"import os; os.sched_setaffinity(0, [{processor}])\n"
    with subprocess.Popen([sys.executable, "-c", pinned + spins.format(60)]) as other:
        beside = float(python(looks.format("import time; time.sleep(1)"), processor=processor).stdout)
        other.kill()
    assert beside > 0.7
    # The own work is subtracted, whatever else runs here meanwhile.
    own = "\n".join(["import os, time, poisonsieve.processors as m", "before = m._own_seconds()", spins.format(0.5)])
    found = python(looks.format(own) + "\nprint(m._own_seconds() - before)", processor=processor).stdout.split()
    assert float(found[0]) + float(found[1]) / 0.5 < 1.2


@linux
def test_torch_gets_one_thread_on_one_processor_and_the_line_says_why(processor):
    code = "from poisonsieve.processors import Processors\nprint(Processors().share())\nimport torch\n"
    line, threads = python(code + "print(torch.get_num_threads())", processor=processor).stdout.splitlines()
    assert line.startswith(f"1 thread: 1 of {os.cpu_count()} processors, ") and line.endswith(" busy")
    assert threads == "1"


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_user_has_chosen_stays(variable):
    code = "from poisonsieve.processors import Processors\nprint(Processors().share())\nimport torch\n"
    said = python(code + "print(torch.get_num_threads())", **{variable: "1"}).stdout.splitlines()
    assert said == ["None", "1"]


def test_a_program_that_has_torch_already_keeps_its_threads():
    before = torch.get_num_threads()
    assert Processors().share() is None
    assert torch.get_num_threads() == before


def test_importing_the_package_sets_nothing():
    code = "import os\nbefore = dict(os.environ)\nimport poisonsieve, poisonsieve.processors\n"
    assert python(code + "print(dict(os.environ) == before)").stdout == "True\n"


@pytest.mark.parametrize(
    ("variables", "policy"),
    [({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE", "KMP_BLOCKTIME": "200"}, "ACTIVE 200")],
)
def test_the_commands_threads_do_not_spin_unless_the_user_says_so(variables, policy):
    code = """
import os, sys
from poisonsieve.cli import main
main.app = lambda: print(os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"], "torch" in sys.modules)
main.run()"""
    assert python(code, **variables).stdout == f"{policy} False\n"


@linux
def test_a_command_says_its_threads_in_one_line_and_quiet_says_none(planted_guard, tmp_path, processor):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a fine film"}\n')
    code = "from poisonsieve.cli.main import run; run()"
    command = (code, "screen", str(planted_guard), str(rows), "--out", str(tmp_path / "out.jsonl"))
    first, *others = python(*command, processor=processor).stderr.splitlines()
    assert first.startswith(f"1 thread: 1 of {os.cpu_count()} processors, ")
    assert not any("thread" in line for line in others)
    assert "thread" not in python(*command, "--quiet", processor=processor).stderr
    assert "thread" not in python(*command, processor=processor, OMP_NUM_THREADS="1").stderr
