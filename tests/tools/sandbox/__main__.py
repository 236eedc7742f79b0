"""Run a file of abuse cases against the code interpreter's sandbox.

Exit status: 0 when every case held, 1 when one did not, 2 when the file or the tier is no good, 130 after Ctrl-C.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from sandbox import throwaway
from sandbox.cases import BUNDLED, BadCase, Case, read_cases
from sandbox.harness import fault_of, run_cases
from sandbox.report import Progress, print_json, print_table, summary

TIERS = ("bubblewrap", "landlock", "wasi", "unsafe")


def main(arguments: list[str] | None = None) -> int:
    """Read, run, report."""
    options = _options(arguments)
    try:
        cases = _chosen(read_cases(options.file), options.only)
    except (BadCase, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.tier == "unsafe" and not options.settled:
        return _in_throwaway(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.settled:
            throwaway.settle()
    except (throwaway.NoThrowaway, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs start with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    if fault := fault_of(options.tier):
        print(f"tier {options.tier} does not work here: {fault}", file=sys.stderr)
        return 2
    try:
        verdicts = run_cases(cases, options.tier, lanes=options.lanes, within=options.within, told=Progress(len(cases)))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    (print_json if options.json else print_table)(verdicts, options.tier, time.monotonic() - started)
    return 1 if summary(verdicts)["missed"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make sandbox-cases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", default=BUNDLED, help="cases, one JSON object a line")
    parser.add_argument("--tier", choices=TIERS, default="bubblewrap")
    parser.add_argument("--only", metavar="WORD", default="", help="only cases whose name or category holds this")
    parser.add_argument("--lanes", type=int, help="how many at once [default: one per processor, two at most]")
    parser.add_argument("--within", type=float, metavar="SECONDS", help="time for all [default: 60 and 15 a case]")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--settled", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _chosen(cases: list[Case], word: str) -> list[Case]:
    chosen = [case for case in cases if word in case.id or word in case.category]
    if not chosen:
        raise BadCase(f"there is no case with {word!r} in its name" if word else "the file has no cases")
    return chosen


def _in_throwaway(arguments: list[str]) -> int:
    """Without a sandbox, only in a world that can be thrown away."""
    try:
        command = throwaway.command([sys.executable, "-m", "sandbox", *arguments, "--settled"])
    except throwaway.NoThrowaway as error:
        print(error, file=sys.stderr)
        return 2
    return os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
