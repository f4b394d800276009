"""Memory that is given back to the system."""

import platform
import subprocess
import sys

import pytest

# 200 MB in blocks that glibc keeps in its heap; a last one, in use, keeps the heap from shrinking by itself
PROGRAM = """
import ctypes, re
from pathlib import Path
from maskbatch.run.memory import trim
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
blocks = [libc.malloc(50_000) for _ in range(4000)]
for block in blocks:
    ctypes.memset(block, 1, 50_000)
last = libc.malloc(50_000)
for block in blocks:
    libc.free(block)
before = resident_mb()
trim()
print(before - resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_goes_back_to_the_system():
    """Also what lies below a block that is still in use."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert 150 < float(result.stdout) < 250
