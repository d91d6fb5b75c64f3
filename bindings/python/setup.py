"""Builds the library and the Python that goes with it into the wheel: needs Rust.

SAPWOOD_BUILT names a folder with a library and a generator that were built before; then nothing is
built here. SAPWOOD_PROFILE is cargo's profile, SAPWOOD_FEATURES names features of bindings/ffi.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROFILE = os.environ.get("SAPWOOD_PROFILE", "release")
LIBRARY = {"darwin": "libsapwood.dylib", "win32": "sapwood.dll"}.get(sys.platform, "libsapwood.so")


def cargo(*arguments):
    subprocess.run(["cargo", *arguments], cwd=ROOT, check=True)


class Build(build_py):
    def run(self):
        super().run()
        package = Path(self.build_lib) / "sapwood"
        features = os.environ.get("SAPWOOD_FEATURES", "")
        if "SAPWOOD_BUILT" in os.environ:
            folder = Path(os.environ["SAPWOOD_BUILT"])
            generator = [folder / "sapwood-bindgen"]
        else:
            cargo("build", "-p", "sapwood-ffi", "--profile", PROFILE, "--features", features)
            folder = TARGET / ("debug" if PROFILE == "dev" else PROFILE)
            generator = ["cargo", "run", "-q", "-p", "sapwood-bindgen", "--"]
        # The interface's description lies in symbols that stripping would remove.
        built = folder / LIBRARY
        words = [*generator, "python", built, package.resolve()]
        subprocess.run(words, cwd=ROOT, check=True)
        (package / LIBRARY).write_bytes(built.read_bytes())
        if sys.platform == "linux":
            subprocess.run(["strip", "--strip-unneeded", package / LIBRARY], check=False)


class Wheel(bdist_wheel):
    """One wheel per platform, for every Python: the library is called through ctypes."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


setup(
    version=re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1],
    cmdclass={"build_py": Build, "bdist_wheel": Wheel},
)
