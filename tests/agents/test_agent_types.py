import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_users_get_the_types_of_what_they_wrote() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "tests/agents/typed_agents.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
