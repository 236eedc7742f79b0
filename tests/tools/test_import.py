import subprocess
import sys


def test_importing_the_tools_loads_no_heavy_library() -> None:
    heavy = ["torch", "transformers", "sentence_transformers", "chromadb", "numpy", "ddgs", "pydantic", "griffe"]
    code = f"import sys, arriero.tools; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
