"""Tests of agents: engines that say what a script tells them, recordings of real ones, and assertions on calls.

The scripted engine goes the way of a real one: its answers are token ids, parsed and logged like any others.
"""

from arriero.stack.engines.recorded import RecordedEngine, Recorder
from arriero.testing.calls import assert_calls, call
from arriero.testing.engine import ScriptedEngine
from arriero.testing.recording import recorded
from arriero.testing.script import Answer, Asked, Rule, Say, ScriptError, when
from arriero.testing.stack import scripted_opening, scripted_stack
from arriero.testing.vocabulary import byte_tokenizer

__all__ = [
    "Answer",
    "Asked",
    "RecordedEngine",
    "Recorder",
    "Rule",
    "Say",
    "ScriptError",
    "ScriptedEngine",
    "assert_calls",
    "byte_tokenizer",
    "call",
    "recorded",
    "scripted_opening",
    "scripted_stack",
    "when",
]
