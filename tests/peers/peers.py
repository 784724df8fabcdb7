"""What the peer scripts beside this file share: one Python environment, our
benchmarks, and times.

The environment lives in target/peers/venv, or in $PEERS_VENV where that is set;
packages are added as scripts ask for them.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PEERS = TARGET / "peers"
DATA = ROOT.parent / "shared" / "data"


def with_packages(*packages):
    """Runs the calling script again in an environment that has the packages."""
    home = pathlib.Path(os.environ.get("PEERS_VENV", PEERS / "venv")).absolute()
    python = home / "bin" / "python"
    if pathlib.Path(sys.prefix) != home:
        if not python.exists():
            venv.create(home, with_pip=True)
        # Nothing to be asked of the network where all is there.
        missing = f"import importlib.metadata as m\nfor p in {packages!r}: m.distribution(p.split('==')[0])"
        if subprocess.run([python, "-c", missing], stderr=subprocess.DEVNULL).returncode:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        os.execv(python, [str(python), *sys.argv])


def data():
    """The folder with test data; ends the script where there is none."""
    if not DATA.exists():
        sys.exit("skipped: ../shared/data is absent")
    return DATA


def bench(name, *arguments, **environment):
    """The JSON lines that one of our benchmarks prints."""
    command = ["cargo", "bench", "--quiet", "--workspace", "--bench", name, "--", *map(str, arguments)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def best(times, run):
    """Shortest of a few runs in seconds, and what the last gave."""
    seconds = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        value = run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, value
