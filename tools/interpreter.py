"""The code interpreter: Python in a separate process."""

import json
import math
import signal
import sys
from pathlib import Path

from arriero.prompts.code_result import format_code_result
from arriero.tools.processes import Outcome, run_limited
from arriero.tools.tool import Tool, describe

_RUNNER = Path(__file__).resolve().with_name("code_runner.py")
_GIBIBYTE = 1 << 30


def code_interpreter(*, timeout: float = 10.0, memory: int = _GIBIBYTE, output: int = 8_000) -> Tool:
    r"""A tool that runs Python code and gives what it printed, in Meta's form.

    Each call is a fresh process in an empty temporary folder, without the caller's environment variables, with
    limits on time, memory, file size, open files, processes and output. If the last statement is an expression, its
    value is printed as at Python's prompt. On Linux all processes that the code starts are killed when it ends, by a
    supervising process; code that kills that process first can leave others behind.

    **This is not a sandbox.** The code runs as the user who runs the agent: it can read and write that user's
    files, look at that user's other processes and reach the network; memory is limited for each process and not in
    sum, and the system does not limit the number of root's processes. Offer it only to models and on input that you
    would trust with a terminal.

    Args:
        timeout: Seconds of wall time, for each call.
        memory: Bytes of address space.
        output: Most bytes to keep of each of standard output and standard error.

    Returns:
        The tool, a built-in of the Llama format.

    Example:
        >>> import anyio
        >>> anyio.run(code_interpreter().invoke, {"code": "6 * 7"})
        'completed\n[stdout]42\n[/stdout]'
    """
    limits = {
        "RLIMIT_AS": memory,
        "RLIMIT_CPU": math.ceil(timeout) + 1,
        "RLIMIT_FSIZE": 16 << 20,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": 64,
        "RLIMIT_CORE": 0,
    }
    command = [sys.executable, "-I", "-B", "-X", "utf8", str(_RUNNER), json.dumps(limits)]

    async def code_interpreter(code: str) -> str:
        """Run Python code.

        Args:
            code: The code. Print what you need to know.
        """
        outcome = await run_limited(command, code.encode("utf-8", "replace"), wall_time=timeout, output=output)
        stderr = "\n".join(filter(None, (outcome.stderr, _why_stopped(outcome, timeout, limits["RLIMIT_CPU"]))))
        return format_code_result(failed=outcome.status != 0, stdout=outcome.stdout, stderr=stderr)

    # a little more than the limit itself, so that the child's own report wins
    return describe(code_interpreter, timeout=timeout + 10, builtin="code_interpreter")


def _why_stopped(outcome: Outcome, timeout: float, cpu: int) -> str:
    if outcome.status is None:
        return f"stopped: it ran longer than {timeout:g} s"
    if outcome.status >= 0:
        return ""
    if -outcome.status in (signal.SIGXCPU, signal.SIGKILL):
        return f"stopped by the system: it used more than {cpu} s of processor time or too much memory"
    return f"stopped by signal {signal.Signals(-outcome.status).name}"
