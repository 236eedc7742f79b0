"""Runs: questions put to a system, kept in a folder, resumable."""

from arriero.evals.runs.folder import NoRun, RunDiffers, RunFolder
from arriero.evals.runs.judging import Judging, judge_run, judge_subject
from arriero.evals.runs.lines import DamagedRun, RunBusy
from arriero.evals.runs.running import RunStopped, run_system
from arriero.evals.runs.subject import Subject, read_subject

__all__ = [
    "DamagedRun",
    "Judging",
    "NoRun",
    "RunBusy",
    "RunDiffers",
    "RunFolder",
    "RunStopped",
    "Subject",
    "judge_run",
    "judge_subject",
    "read_subject",
    "run_system",
]
