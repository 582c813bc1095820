"""Memory that is kept between the steps of a training."""

import json
import os
import subprocess
import sys

import pytest

from thesislib.memory import KEPT

# Fetches 32 MiB again and again, and prints how often the system had to map a page for that.
FETCH = """
import json, os, resource, sys
import torch
from thesislib.memory import keep_memory

kept = keep_memory() if sys.argv[1] == "keep" else None
faults = []
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**23)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps([kept, faults[-10:], {k: v for k, v in os.environ.items() if "MALLOC" in k}]))
"""


def fetch(how, **variables):
    bare = {name: value for name, value in os.environ.items() if name not in KEPT}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, how],
        env=bare | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is told on glibc only")
def test_kept_memory_is_used_again_instead_of_fetched():
    _, faults, _ = fetch("not")
    kept, fewer, _ = fetch("keep")
    assert kept
    assert min(faults) > 100
    assert max(fewer) < 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is told on glibc only")
def test_processes_that_are_started_later_keep_it_as_well():
    _, _, variables = fetch("keep")
    assert variables == KEPT
    _, faults, _ = fetch("not", **variables)
    assert max(faults) < 10


def test_what_somebody_set_is_left_alone():
    _, _, variables = fetch("keep", MALLOC_TRIM_THRESHOLD_="1000")
    assert variables == KEPT | {"MALLOC_TRIM_THRESHOLD_": "1000"}
