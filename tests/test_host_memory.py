"""Freed memory stays in the process, in an area that asks for large pages."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

BYTES = 64 << 20
PROBE = f"""
import resource, sys
from unitok.host_memory import keep_freed_memory

def fill():
    return id(b"1" * {BYTES})  # numpy would ask for large pages itself

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory() if sys.argv[1] == "kept" else None
address = fill()
before = faults()
fill()
flags, inside = "", False
for line in open("/proc/self/smaps"):
    head = line.split()[0]
    if "-" in head and not head.endswith(":"):
        first, end = (int(x, 16) for x in head.split("-"))
        inside = first <= address + {BYTES} // 2 < end
    elif inside and head == "VmFlags:":
        flags = line.split()[1:]
print(faults() - before, "hg" in flags)
"""


def probe(how: str) -> tuple[int, bool]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True
    )
    faults, marked = done.stdout.split()
    return int(faults), marked == "True"


@pytest.mark.skipif(
    not (hasattr(ctypes.CDLL(None), "mallopt") and Path("/proc/self/smaps").exists()),
    reason="glibc on Linux only",
)
def test_a_block_as_large_as_a_freed_one_faults_in_no_page_and_asks_for_large_ones() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    large = setting.read_text() if setting.exists() else "never"
    faults, marked = probe("plain")
    # the kernel gives each page anew, and where large ones are for all, each large one
    assert faults > (20 if "[always]" in large else 10_000) and not marked
    faults, marked = probe("kept")
    assert faults < 20
    assert marked or not setting.exists()
