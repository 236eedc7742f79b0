"""Without a sandbox most of what must be blocked is not, so that the cases are known to bite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.cases import BUNDLED, MORE, read_cases

pytestmark = pytest.mark.sandbox

TOOLS = Path(__file__).resolve().parents[1]


def run_without_sandbox(file: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", str(file), "--tier", "unsafe", "--json", *options],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def harmless_blocked(tmp_path: Path) -> Path:
    names = {case.id for case in read_cases(BUNDLED) if case.steps[0].must == "blocked" and not case.danger}
    lines = BUNDLED.read_text(encoding="utf-8").splitlines()
    file = tmp_path / "blocked.jsonl"
    file.write_text("\n".join(line for line in lines if json.loads(line)["id"] in names), encoding="utf-8")
    return file


def test_most_of_what_must_be_blocked_succeeds_without_a_sandbox(tmp_path: Path) -> None:
    report = run_without_sandbox(harmless_blocked(tmp_path))
    bit = [case["id"] for case in report["cases"] if any(miss["kind"] == "breach" for miss in case["misses"])]
    assert report["total"] > 50
    assert len(bit) / report["total"] >= 0.6, f"only {len(bit)} of {report['total']} succeeded: {bit}"


def test_a_dangerous_case_is_never_run_without_a_sandbox(tmp_path: Path) -> None:
    dangerous = [case.id for file in (BUNDLED, MORE) for case in read_cases(file) if case.danger]
    lines = [line for file in (BUNDLED, MORE) for line in file.read_text(encoding="utf-8").splitlines()]
    file = tmp_path / "danger.jsonl"
    file.write_text("\n".join(line for line in lines if json.loads(line)["id"] in dangerous), encoding="utf-8")
    report = run_without_sandbox(file)
    assert report["skipped"] == report["total"] == len(dangerous) > 0
