"""Jobs as forks of a process that has imported what they need."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thesislib.reproduce.preloaded import CLI, ask, preloaded

PATIENCE_S = 60.0


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Start a process whose forks run a given ``main`` in place of the command line."""

    def start(main):
        (tmp_path / "stand_in.py").write_text(
            f"import os, sys, time\nimport thesislib.cli\ndef main():\n    {main}\n"
            "thesislib.cli.main = main\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH')}")
        return preloaded(["stand_in"], threads=1, log=tmp_path / "preloaded.log")

    return start


@pytest.fixture
def lock(tmp_path):
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


def words(*more):
    return (sys.executable, *CLI, *more)


def test_a_fork_runs_the_command_line_with_the_output_of_who_asks(tmp_path, lock, capfd):
    with preloaded(["thesislib.cli"], threads=1, log=tmp_path / "preloaded.log") as found:
        assert ask(found.address, words("--help"), lock) == 0
        assert "train [OPTIONS]" in capfd.readouterr().out
        assert ask(found.address, words("07", "-p", "n_frames", "7"), lock) == 2
        assert "error: n_frames" in capfd.readouterr().err
    assert (tmp_path / "preloaded.log").read_text() == ""


def test_what_cannot_be_forked_is_left_to_who_asks(tmp_path, lock, server):
    with preloaded([], threads=1, log=tmp_path / "none.log") as found:
        assert found == ("", ())
        assert ask(found.address, words("07"), lock) is None
    with server("pass") as found:
        assert ask(found.address, (sys.executable, "-m", "thesislib.cli", "run"), lock) is None
        assert ask(found.address, words("07"), lock) == 0
    assert ask(found.address, words("07"), lock) is None  # it has ended


def test_nothing_is_forked_once_the_code_has_changed(server, tmp_path, lock, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    (package / "model.py").write_text("width = 1\n")
    # The process looks at this folder in place of the library's.
    monkeypatch.setenv("STAND_IN", str(package))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, thesislib.code\n"
        "thesislib.code.PACKAGE = pathlib.Path(os.environ['STAND_IN'])\n"
    )
    with server("pass") as found:
        assert ask(found.address, words("07"), lock) == 0
        (package / "model.py").write_text("width = 20\n")
        assert ask(found.address, words("07"), lock) is None


def test_several_are_served_at_once(server, lock, capfd):
    # Each waits for the other's file.
    main = (
        "own, other = sys.argv[-2:]; open(own, 'w').close(); print(own)\n"
        "    while not os.path.exists(other): time.sleep(0.05)"
    )
    with server(main) as found, ThreadPoolExecutor(2) as pool:
        names = [str(Path(found.address).with_name(name)) for name in "ab"]
        asked = [
            pool.submit(ask, found.address, words(own, other), lock)
            for own, other in (names, names[::-1])
        ]
        assert [future.result(PATIENCE_S) for future in asked] == [0, 0]
    assert sorted(capfd.readouterr().out.split()) == names


@pytest.mark.parametrize(
    ("main", "code"),
    [("sys.exit(3)", 3), ("raise ValueError('so it is')", 1), ("os.kill(os.getpid(), 9)", -9)],
    ids=["exit", "exception", "signal"],
)
def test_who_asks_is_told_how_it_ended(server, lock, capfd, main, code):
    with server(main) as found:
        assert ask(found.address, words("07"), lock) == code
        assert ask(found.address, words("07"), lock) == code  # and the next is served as well
    assert ("so it is" in capfd.readouterr().err) == (code == 1)


def test_a_fork_ends_with_the_job_that_asked_and_holds_its_lock_until_then(server, tmp_path):
    job = (
        "import sys; from thesislib.reproduce.preloaded import CLI, ask\n"
        "from thesislib.locking import exclusive\nfrom pathlib import Path\n"
        "with exclusive(Path(sys.argv[2])) as lock: ask(sys.argv[1], ('python', *CLI), lock)"
    )
    with server("print('at work', flush=True); time.sleep(600)") as found:
        path = tmp_path / "held"
        process = subprocess.Popen(
            [sys.executable, "-c", job, found.address, str(path)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"at work\n"
        assert not free(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        until = time.monotonic() + PATIENCE_S
        while not free(path) and time.monotonic() < until:
            time.sleep(0.05)
        assert free(path)


def free(path):
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
