from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from distilq.cli.console import Console
from distilq.cli.errors import CannotRun
from distilq.cli.ports import free_port, why_unusable
from distilq.cli.supervisor import Interrupted, Program, Supervisor

#: Tells its process id, then waits for SIGTERM.
SERVE = "import os, time; print('up', os.getpid(), flush=True); time.sleep(600)"


class Screen(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, who: str | None = None) -> None:
        self.lines.append(f"{who}: {text}")


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(Screen()) as supervisor:
        yield supervisor


def python(code: str, name: str = "a", stop_s: float = 5.0) -> Program:
    return Program(name, [sys.executable, "-I", "-S", "-c", code], dict(os.environ), stop_s)


def tick_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        supervisor.tick()
    raise AssertionError("it did not happen")


def said(supervisor: Supervisor) -> list[str]:
    assert isinstance(supervisor.console, Screen)
    return supervisor.console.lines


def those_up(supervisor: Supervisor, number: int) -> list[psutil.Process]:
    """The first processes that said so, once there are so many."""

    def pids() -> list[int]:
        return [int(line.split()[-1]) for line in said(supervisor) if ": up " in line]

    tick_until(supervisor, lambda: len(pids()) == number)
    return [psutil.Process(pid) for pid in pids() if psutil.pid_exists(pid)]


def test_a_program_that_is_killed_is_started_again(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE))
    (first,) = those_up(supervisor, 1)
    first.kill()
    (second,) = those_up(supervisor, 2)
    assert second != first
    assert "a: was ended by SIGKILL; starting it again" in said(supervisor)


def test_a_program_that_cannot_start_ends_it_all(supervisor: Supervisor) -> None:
    supervisor.start(python("raise SystemExit(3)", name="worker-1"))
    with pytest.raises(CannotRun, match=r"worker-1 failed 3 times in a row .* exit status 3"):
        tick_until(supervisor, lambda: False)


def test_a_program_that_says_it_is_hopeless_is_not_started_again(supervisor: Supervisor) -> None:
    words = "print('distilq: the model is broken', flush=True); raise SystemExit(78)"
    supervisor.start(python(words, name="worker-1"))
    with pytest.raises(CannotRun, match=r"^worker-1: the model is broken$"):
        tick_until(supervisor, lambda: False)


def test_what_does_not_exist_is_said_by_name(supervisor: Supervisor) -> None:
    supervisor.start(Program("a", ["no-such-program"], dict(os.environ), 1.0))
    tick_until(
        supervisor, lambda: "a: no-such-program: No such file or directory" in said(supervisor)
    )


def test_a_program_has_a_process_group_of_its_own(supervisor: Supervisor) -> None:
    supervisor.start(python(SERVE))
    (process,) = those_up(supervisor, 1)
    assert os.getpgid(process.pid) == process.pid


def test_the_last_started_is_stopped_first() -> None:
    goodbye = (
        "import signal, sys; signal.signal(15, lambda *a: (print('bye', flush=True), sys.exit()));"
        "print('up', flush=True); signal.pause()"
    )
    with Supervisor(Screen()) as supervisor:
        supervisor.start(python(goodbye, "redis"))
        supervisor.start(python(goodbye, "worker"), python(goodbye, "worker"))
        supervisor.start(python(goodbye, "api"))
        tick_until(supervisor, lambda: len(said(supervisor)) == 4)
    eventually(lambda: sum(line.endswith("bye") for line in said(supervisor)) == 4)
    order = [line for line in said(supervisor) if line.endswith("bye")]
    assert order == ["api: bye", "worker: bye", "worker: bye", "redis: bye"]


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_program_that_does_not_stop_is_killed_with_its_children() -> None:
    deaf = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.fork();"
        "print('up', os.getpid(), flush=True); time.sleep(600)"
    )
    with Supervisor(Screen()) as supervisor:
        supervisor.start(python(deaf, stop_s=0.3))
        family = those_up(supervisor, 2)
    eventually(lambda: not any(map(lives, family)))


def test_a_second_ctrl_c_does_not_wait_for_the_end_of_the_jobs() -> None:
    deaf = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN);"
        "print('up', os.getpid(), flush=True); time.sleep(600)"
    )
    with Supervisor(Screen()) as supervisor:
        supervisor.start(python(deaf, stop_s=600))
        (process,) = those_up(supervisor, 1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert not lives(process)


def test_ctrl_c_is_an_end_and_not_a_traceback(supervisor: Supervisor) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted):
        supervisor.tick()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no parent-death signal")
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "supervise.py"
    script.write_text(
        "import os, sys\n"
        "from distilq.cli.console import Console\n"
        "from distilq.cli.supervisor import Program, Supervisor\n"
        f"command = [sys.executable, '-c', {SERVE!r}]\n"
        "with Supervisor(Console()) as supervisor:\n"
        "    supervisor.start(Program('a', command, dict(os.environ), 1.0))\n"
        "    while True: supervisor.tick()\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline().split()[-1]))
        process.kill()
    eventually(lambda: not lives(child))


def test_the_log_goes_on_without_its_reader() -> None:
    reader, writer = os.pipe()
    console = Console(writer)
    os.close(reader)
    for number in range(100):
        console.say(str(number))
    console.close()
    os.close(writer)


def test_a_reader_that_stands_still_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    console = Console(writer)
    done = threading.Event()

    def talk() -> None:
        for _ in range(200):
            console.say("x" * 4096)  # more than a pipe takes
        done.set()

    threading.Thread(target=talk).start()
    assert done.wait(30)
    os.close(reader)
    console.close()
    os.close(writer)


def test_a_free_port_can_be_used_and_a_taken_one_cannot() -> None:
    port = free_port()
    assert why_unusable("127.0.0.1", port) is None
    with socket.create_server(("127.0.0.1", port)):
        assert why_unusable("127.0.0.1", port) == "it is taken by another program"
    assert why_unusable("192.0.2.1", port) == "this machine does not have that address"
