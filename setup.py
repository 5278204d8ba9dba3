"""
Builds the three C extension modules of shmchan.

``shmchan._core`` is the channel layer in shared memory and ``shmchan._frames`` the WebSocket frame codec, both by cffi in API
mode from the part of their header that stands between two marker comments, so that every declaration exists once.
``shmchan._exchange`` is the way of every message between Python and the core, written against Python itself.
"""

import os
import platform
import re
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
SUPPORTED = ("x86_64", "aarch64")
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-pthread"]


def refuse_other_machines() -> None:
    """Say at once what the core runs on, instead of failing in the middle of a compilation."""
    if not sys.platform.startswith("linux") or platform.machine() not in SUPPORTED:
        sys.exit(
            f"shmchan runs on Linux on {' and '.join(SUPPORTED)}: it needs robust process-shared mutexes, futexes and "
            f"open-file-description locks. This is {sys.platform} on {platform.machine()}."
        )


def cffi_extension(name: str, folder: str, header: str) -> Extension:
    """
    The extension module ``name`` with everything between the cdef markers of ``header``, from the C files of ``folder``.

    Source: cffi documentation, "Preparing and distributing modules", API mode.
    """
    import cffi

    text = (ROOT / folder / header).read_text()
    declarations = re.search(r"/\* cdef begin \*/\n(.*?)/\* cdef end \*/", text, re.DOTALL)
    if declarations is None:
        sys.exit(f"{folder}/{header} has no part between /* cdef begin */ and /* cdef end */")
    builder = cffi.FFI()
    builder.cdef(declarations.group(1))
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.c"))
    generated = [*FLAGS, "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
    builder.set_source(name, f'#include "{header}"\n', sources=sources, include_dirs=[folder], extra_compile_args=generated)
    extension: Extension = builder.distutils_extension(tmpdir=str(ROOT / "build"), verbose=False)
    extension.depends = [str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.h")]
    return extension


os.chdir(ROOT)
refuse_other_machines()
setup(
    ext_modules=[
        cffi_extension("shmchan._core", "csrc", "shmchan.h"),
        cffi_extension("shmchan._frames", "csrc/frames", "wsframe.h"),
        Extension(
            "shmchan._exchange",
            ["csrc/python/exchange.c", "csrc/python/plain.c"],
            depends=["csrc/python/plain.h"],
            extra_compile_args=FLAGS,
        ),
    ]
)
