"""What tests need besides Python: programs that Debian has. Skipping is right on a developer's machine, never in CI."""

import os
import shutil

import pytest

PACKAGES = {
    "gcc": "gcc",
    "spin": "spin",
    "ip": "iproute2",
    "clang": "clang libclang-rt-dev (as scripts/find-checkers does)",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "qemu-aarch64": "qemu-user",
}


def required() -> bool:
    """Whether a test must run: CI as root has had everything installed."""
    return os.environ.get("CI", "").lower() in ("true", "1") and os.getuid() == 0


def need(*programs: str) -> None:
    """Skip the test if one of the programs is not there, and say what to install; in CI as root, fail."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    text = f"{', '.join(missing)} not found: sudo apt-get install {' '.join(PACKAGES[program] for program in missing)}"
    if required():
        pytest.fail(text)
    pytest.skip(text)
