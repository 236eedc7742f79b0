"""What every log must be, whenever its process died: a legal beginning of turns. Written apart from the loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from arriero.stack import events as e
from arriero.stack.log import Record


@dataclass
class Call:
    started: bool = False
    asked: bool = False
    decided: str = ""
    finished: bool = False


@dataclass
class State:
    turn: str = ""
    prompted: int = 0
    step: int = 0
    calls: list[Call] = field(default_factory=list)
    paused: bool = False
    over: bool = True


def problems(records: Sequence[Record]) -> list[str]:
    """What is wrong with a session's log; nothing for a legal one."""
    found: list[str] = []
    state = State()
    ended: set[str] = set()
    for position, record in enumerate(records):
        where = f"{position} {type(record.event).__name__}"
        if record.seq != position:
            found.append(f"{where}: its position is {record.seq}")
        if isinstance(record.event, e.TurnStarted):
            ended |= {state.turn} - {""}
            state = State(record.turn, over=False)
        elif isinstance(record.event, e.SessionForked):
            continue
        elif record.turn in ended or record.turn != state.turn or state.over:
            found.append(f"{where}: its turn is over, or has not begun")
            continue
        found += [f"{where}: {problem}" for problem in _step(state, record.event)]
        if state.over:
            ended.add(state.turn)
    return found


def _step(state: State, event: e.Event) -> list[str]:
    wrong: list[str] = []
    unfinished = [call for call in state.calls if not call.finished]

    def must(holds: bool, problem: str) -> None:
        if not holds:
            wrong.append(problem)

    def call(step: int, position: int) -> Call:
        must(step == state.step, f"a call of step {step} while the last one is {state.step}")
        must(position < len(state.calls), f"there is no call {position}")
        return state.calls[position] if position < len(state.calls) else Call()

    match event:
        case e.TurnStarted():
            pass
        case e.PromptAppended(step):
            must(step == state.step + 1, f"the prompt of step {step} after step {state.step}")
            must(not unfinished, "a prompt while calls have no result")
            state.prompted, state.calls = step, []
        case e.StepFinished(step, tool_calls=tool_calls):
            must(step == state.prompted == state.step + 1, f"step {step} after {state.step}, {state.prompted} asked")
            state.step, state.calls = step, [Call() for _ in tool_calls]
        case e.CallStarted(step, position=position):
            begun = call(step, position)
            must(not begun.finished, "a call begins that has a result")
            must(not begun.asked or begun.decided in ("run", "edit"), "a call begins that nobody allowed")
            begun.started, begun.asked, begun.decided = True, False, ""
        case e.CallFinished(step, position=position):
            done = call(step, position)
            must(not done.finished, "a second result")
            must(not done.asked or bool(done.decided), "a result of a call that waits")
            done.finished = True
        case e.DecisionAsked(step, position):
            asked = call(step, position)
            must(not asked.finished and not asked.asked, "asked about a call that is done, or asked twice")
            asked.asked, asked.decided = True, ""
        case e.DecisionGiven(step, position, decision):
            given = call(step, position)
            must(given.asked and not given.decided, "decided what nobody asked, or twice")
            given.decided = decision.choice
        case e.TurnPaused(waiting):
            names = [f"{state.step}.{at}" for at, one in enumerate(state.calls) if one.asked and not one.decided]
            must([*waiting] == names, f"waits for {waiting}, asked is {names}")
            must(bool(names), "waits for nothing")
            must(all(one.finished or one.asked for one in state.calls), "waits while calls could run")
            state.paused = True
        case e.TurnResumed():
            state.paused = False
        case e.TranscriptRewritten():
            must(not unfinished, "rewritten while calls have no result")
            state.prompted = state.step + 1
            state.calls = []
        case e.TurnFinished(_, reason):
            must(reason != "answer" or not state.calls, "an answer while calls were made")
            state.over = True
        case e.TextDelta() | e.CallProgressed():
            must(False, "it is streamed, and never logged")
        case e.VerdictGiven() | e.MessageAdded() | e.HandedOff() | e.LimitReached() | e.TurnFailed():
            pass
        case e.SessionForked():
            pass
        case e.WorkflowStarted() | e.NodeStarted() | e.NodeFinished() | e.NodeFailed() | e.WorkflowFinished():
            must(False, "of a workflow, in a turn")
        case _:
            assert_never(event)
    if state.paused and not isinstance(event, e.TurnPaused | e.DecisionGiven | e.MessageAdded | e.TurnFinished):
        wrong.append("a turn that waits goes on without having been resumed")
    return wrong
