"""Without randomness from the operating system nothing secret is made: there is no fallback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>
int broken = 0;
ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    if (broken) { errno = EIO; return -1; }
    return syscall(SYS_getrandom, buffer, length, flags);
}
"""

PROGRAM = """
import ctypes
import os

from tacit import errors
from tacit._native import Parameters, SecretKey

params = Parameters.insecure_from_literal(4, [40, 30], [40], log_scale=20)
seeded = SecretKey.insecure_from_seed(params, bytes(32))
stored = SecretKey.from_bytes(params, seeded.reveal_bytes())
public = seeded.public_key()
public = type(public).from_bytes(params, public.to_bytes())
plaintext = params.encode([1.0])
SecretKey.generate(params)
ctypes.c_int.in_dll(ctypes.CDLL(os.environ["LD_PRELOAD"]), "broken").value = 1
for secret_operation in (
    lambda: SecretKey.generate(params),
    lambda: stored.public_key(),
    lambda: stored.encrypt(plaintext),
    lambda: stored.evaluation_keys(rotations=[1]),
    lambda: public.encrypt(plaintext),
):
    try:
        secret_operation()
    except errors.InternalError as error:
        assert "no randomness" in str(error), error
        assert error.hint
    else:
        raise SystemExit("an operation went on without randomness")
print("abandoned")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="replaces a function of the Linux C library")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_no_fallback(tmp_path: Path) -> None:
    (tmp_path / "shim.c").write_text(SHIM)
    library = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "shim.c")], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "abandoned\n"
