"""What a turn does: its stations, from the first prompt to the answer."""

import time
from collections.abc import AsyncGenerator, Sequence

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.errors import ContextTooLong
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionGiven,
    Event,
    HandedOff,
    LimitReached,
    MessageAdded,
    StepFinished,
    TextDelta,
    TurnResumed,
    TurnStarted,
)
from arriero.stack.gates import allowed, judged_beside, verdicts_of
from arriero.stack.generation import Generation
from arriero.stack.limits import after_calls, before_calls, before_step
from arriero.stack.open_turn import CallState, total
from arriero.stack.running import Running, without_text
from arriero.stack.takeover import take_over, wanted
from arriero.stack.waiting import given, plan
from arriero.tools import ToolResult


class InvalidHook(ArrieroError):
    """A hook of the agent's gave something that the turn cannot go on with."""


class TurnLoop(Running):
    """One turn of a session. Each method that names `self.next` is a station."""

    def run(self, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
        """Run the turn.

        Args:
            messages: What the conversation gains.

        Returns:
            Its events.
        """
        self._messages = tuple(messages)
        self._limit: LimitReached | None = None
        return self.events(self._begin)

    def resume(self, decisions: Sequence[DecisionGiven]) -> AsyncGenerator[Event, None]:
        """Go on with the turn from where its log ends.

        Args:
            decisions: What is decided about calls that wait.

        Returns:
            Its further events.
        """
        self._decisions = decisions
        self._limit = None
        return self.events(self._take_up)

    async def _begin(self) -> None:
        """The first prompt. Raises before anything is logged."""
        tape, messages = self.tape, self._messages
        await self._ask_terms(1)
        added = await self._ask_messages(1)
        if not tape.ids and self.terms.instructions:
            messages = (Message("system", self.terms.instructions), *messages)
        prompt = await self.rendering.prompt(1, [*tape.unread, *messages, *added])
        hooked = [MessageAdded(0, message, "hook") for message in added]
        await self.commit([self._opening(messages), *hooked, prompt])
        self.next = self._ask

    async def refuse_to_begin(self, why: str) -> None:
        """Log a turn that was stopped before it began."""
        reached = [LimitReached("seconds", "before the first step")] if why == "seconds" else []
        end = self.end("", "limit" if why == "seconds" else "cancelled")
        await self.commit([self._opening(self._messages), *reached, end])

    def _opening(self, messages: Sequence[Message]) -> TurnStarted:
        return TurnStarted(
            tuple(messages),
            self.engine.model,
            self.dialect.name,
            self.rendering.declarations,
            self.rendering.builtins,
            self.engine.tokenizer.fingerprint,
            self.terms.agent,
        )

    async def _take_up(self) -> None:
        """Find where the log ends."""
        turn = self.turn
        await self.commit([TurnResumed(getattr(self.sessions.log, "owner", "")), *self._decisions])
        self.dispatch.step = turn.step
        if turn.states:
            self.next = self._dispatch
        elif turn.answer is not None and not (turn.cleared and self.tape.unread):
            self._said = turn.answer
            self.next = self._conclude
        elif turn.prompted <= turn.step:
            self.next = self._append
        elif turn.step and (limit := before_step(self.terms, turn.step, turn.usage, "the turn was taken up again")):
            await self.commit([limit, self.end("", "limit")])
        else:
            self.next = self._ask

    @property
    def _generation(self) -> Generation:
        if self.generation is None:
            raise RuntimeError("no answer is being generated")
        return self.generation

    async def _ask(self) -> None:
        """Ask the engine to continue the transcript."""
        turn, terms = self.turn, self.terms
        step = turn.step + 1
        self.dispatch.step = step
        self.hooked.clear()
        sampling = self.rendering.sampling(step, turn.usage.completion_tokens)
        parser = self.dialect.parser(terms.registry.called, self.engine.tokenizer)
        self._asked = time.perf_counter()
        deltas = self.engine.generate(self.tape.ids, sampling)
        self._guarded = bool(terms.input_shields) and turn.unjudged
        self.generation = Generation(deltas, parser, on_call=None if self._guarded else self._start_early)
        self.next = self._judge_input if self._guarded else self._generate

    async def _judge_input(self) -> None:
        """Judge what the user said beside generation."""
        verdicts = await judged_beside(self._generation, self.terms.input_shields, self.tape.messages)
        if allowed(verdicts):
            await self.commit(verdicts)
            self.next = self._generate
            return
        await self.close_generation()
        await self.commit([*verdicts, self.end(self.terms.refusal, "refused")])

    async def _generate(self) -> None:
        """Read the answer, up to where there is text to show."""
        generation, withheld = self._generation, bool(self.terms.output_shields)
        if not (generation.finished or generation.has_text):
            await generation.read_until(lambda: generation.has_text and not withheld)
        if generation.has_text and not withheld:
            self.out.append(TextDelta(self.turn.step + 1, generation.take_text()))
        elif generation.finished:
            self.next = self._settle
        elif generation.has_text:
            await generation.read()

    async def _settle(self) -> None:
        """Log what the model said, and what becomes of its calls."""
        turn, generation = self.turn, self._generation
        parsed, calls = generation.parsed, generation.calls
        said = StepFinished(
            turn.step + 1,
            tuple(generation.token_ids),
            parsed.content,
            calls,
            parsed.end,
            generation.usage,
            time.perf_counter() - self._asked,
        )
        self.unlogged = said
        await self.close_generation()
        usage = total(turn.usage, said.usage)
        limit = before_calls(turn, self.terms, calls, usage) if calls else self._cut(generation)
        if not calls or limit is not None:
            self.dispatch.give_up()
        if not calls:
            self._said, self._limit = said, limit
            self.next = self._conclude
            return
        # Text beside a call was judged by nobody.
        withheld = bool(self.terms.output_shields and parsed.content)
        shown = without_text(said) if withheld else said
        if limit is not None:
            end = self.end("" if withheld else parsed.content, "limit")
            await self.commit([said, limit, end], shown=[shown, limit, end])
            return
        events = await self._first_plan(said.step, calls)
        if self.dispatch.positions:  # begun early; the message, or a hook, may have turned out otherwise
            starts = {event.position: event.call for event in events if isinstance(event, CallStarted)}
            self.dispatch.give_up(lambda position, call: starts.get(position) != call)
        await self.commit([said, *events], shown=[shown, *events])
        self._start(events)
        self.replan = self.terms.decide is not None
        self.next = self._dispatch

    async def _conclude(self) -> None:
        """End the turn with the answer, unless something makes it go on."""
        said, limit, hooks = self._said, self._limit, self.terms.hooks
        step: list[Event] = [] if self.turn.step >= said.step else [said]  # a turn that was resumed has logged it
        if limit is None and hooks.accept is not None and (again := await hooks.accept(said.content)):
            shown = [without_text(said) if self.terms.output_shields else said for _ in step]
            self.rendering.check(again)
            added = MessageAdded(said.step, again, "output")
            await self.commit([*step, added], shown=[*shown, added])
            self.next = self._append
            return
        usage = total(self.turn.usage, said.usage) if step else self.turn.usage
        end: list[Event] = [*([limit] if limit else []), self.end(said.content, "limit" if limit else "answer", usage)]
        seen: list[Event] = [*step]
        if self.terms.output_shields and said.content:
            if (verdicts := await self._judge_output(said, step)) is None:
                return
            step, seen = verdicts, [*step, *verdicts, TextDelta(said.step, said.content)]
        # What the user said meanwhile is answered first.
        since = None if limit else self.changes
        if (limit or not self.tape.unread) and await self.commit([*step, *end], shown=[*seen, *end], since=since):
            return
        if step:
            await self.commit(step, shown=seen)
        self.next = self._append

    async def _judge_output(self, said: StepFinished, step: Sequence[Event]) -> list[Event] | None:
        """What the shields say of the answer; None when they forbid it, which ends the turn."""
        if step:
            await self.commit(step, shown=())
            self.unshown = said
        verdicts = await verdicts_of(self.terms.output_shields, self.tape.messages, "output")
        self.unshown = None
        if allowed(verdicts):
            return [*verdicts]
        end = self.end(self.terms.refusal, "refused")
        await self.commit([*verdicts, end], shown=[*([without_text(said)] if step else []), *verdicts, end])
        return None

    async def _dispatch(self) -> None:
        """Wait for news of the step's calls, until all have results or wait for somebody."""
        turn, dispatch = self.turn, self.dispatch
        if heard := dispatch.progress():
            self.out += heard
        if asked := dispatch.asked():
            await self.commit(asked)
            for event in asked:
                dispatch.drop(event.position)
            self.replan = True
        if self.replan:
            await self._decide()
        if dispatch.late and self.terms.hooks.after_calls is None and (results := self.results()):
            await self.commit(results)
        if self.out:
            return
        if dispatch.running:
            await dispatch.news()
        elif dispatch.asked():
            return
        elif waiting := turn.names_waiting():
            since = self.changes
            await self.commit([*await self._finished(), self.pause(waiting)], since=since)
        elif not self.replan:
            self.next = self._append

    async def _append(self) -> None:
        """Give the model what it has not read yet: the results of its calls, what the user said, what hooks add."""
        finished = await self._finished()
        await self._ask_terms(self.turn.step + 1)  # limits that it changes hold at once
        turn, terms = self.turn, self.terms
        results = self._all_results(finished)
        limit = after_calls(turn, terms, results) if results else None
        limit = limit or before_step(terms, turn.step, turn.usage, "there is more to answer")
        handoff = wanted(terms.handoffs, results) if limit is None else None
        added = await self._ask_messages(turn.step + 1) if limit is None and handoff is None else ()
        read, taken = [Message("tool", result.content) for result in results], None
        while True:
            since = self.changes
            unread = [*read, *self.tape.unread, *added]
            following: list[Event] = [limit, self.end("", "limit")] if limit is not None else []
            try:
                if handoff is not None:
                    taken = taken or await take_over(handoff, self.rendering, unread)
                    rewritten = await taken.rewritten(self.tape.unread)
                    following = [HandedOff(turn.step, handoff.agent), rewritten]
                elif limit is None:
                    following = [*(MessageAdded(turn.step, message, "hook") for message in added)]
                    following.append(await self.rendering.prompt(turn.step + 1, unread))
            except ContextTooLong as error:
                text = f"{error.prompt_tokens} tokens of {error.context_length} with what the model is to read"
                following = [LimitReached("context", text), self.end("", "limit")]
            if await self.commit([*finished, *following], since=since):
                break
        if taken is not None and not self.over:
            self.adopt(taken.rendering.terms)
        self.next = self._ask

    async def _ask_messages(self, step: int) -> Sequence[Message]:
        """What the model is to read first at the step that follows."""
        hook = self.terms.hooks.before_step
        return await hook(step) if hook is not None else ()

    async def _ask_terms(self, step: int) -> None:
        """What holds from a step on."""
        hook = self.terms.hooks.terms
        if hook is not None:
            self.adopt(await hook(step, self.terms))

    def _cut(self, generation: Generation) -> LimitReached | None:
        """The limit that cut the message off, if one did."""
        if not generation.cut:
            return None
        length = len(generation.token_ids)
        full = len(self.tape.ids) + length >= self.engine.context_length
        return LimitReached("context" if full else "tokens", f"the message was cut after {length} tokens")

    async def _first_plan(self, step: int, calls: Sequence[ToolCall]) -> list[Event]:
        """What becomes of calls that the model has just written."""
        wanted: Sequence[ToolCall | ToolResult] = calls
        hook = self.terms.hooks.before_calls
        if hook is not None:
            wanted = await hook(step, calls)
            if len(wanted) != len(calls) or not all(isinstance(one, ToolCall | ToolResult) for one in wanted):
                raise InvalidHook(
                    f"before_calls gave {_kinds(wanted)} in the place of {len(calls)} calls: give as many"
                )
        answered = {at: result for at, result in enumerate(wanted) if isinstance(result, ToolResult)}
        self.rendering.check_results([*answered.values()])
        states = [CallState(one.call, result=one) if isinstance(one, ToolResult) else CallState(one) for one in wanted]
        planned = {event.position: event for event in plan(step, states, self.terms, ())}
        return [CallFinished(step, answered[at], at) if at in answered else planned[at] for at in range(len(wanted))]

    async def _decide(self) -> None:
        """Log what is decided about calls, and start those that may run."""
        self.replan = False
        turn, dispatch, decide = self.turn, self.dispatch, self.terms.decide
        for position, state in enumerate(turn.states):
            if decide is None or state.asked is None or not state.waits or state.consulted:
                continue
            state.consulted = True
            decision = await decide(state.asked.asked, state.call)
            if decision is not None and state.waits:
                await self.commit(given(turn, {f"{turn.step}.{position}": decision}))
        events = plan(turn.step, turn.states, self.terms, dispatch.positions)
        if events:
            await self.commit(events)
            self._start(events)
            # A call that is asked about only now may be one for the agent to decide about.
            self.replan = self.replan or decide is not None

    def _start(self, events: Sequence[Event]) -> None:
        """Run the calls that are about to run."""
        for event in events:
            if isinstance(event, CallStarted) and event.position not in self.dispatch.positions:
                approved = self.turn.states[event.position].approved
                self.dispatch.start(self.terms, event.position, event.call, approved=approved)

    def _start_early(self, position: int, call: ToolCall) -> None:
        """Run a call of a pure tool while the model still writes."""
        turn, terms = self.turn, self.terms
        tool = terms.registry.get(call.name)
        if tool is None or not tool.pure or tool.sensitive or call.name in terms.asks:
            return
        limits, hooks = terms.limits, terms.hooks
        if hooks.before_calls is None and turn.step + 1 < limits.steps and turn.calls + position < limits.calls:
            self.dispatch.start(terms, position, call)

    async def _finished(self) -> list[CallFinished]:
        """Results that are not logged yet, as the model is to read them."""
        hook, finished = self.terms.hooks.after_calls, self.results()
        new = [event for event in finished if event.position not in self.hooked]
        if hook is None or not new:
            return finished
        wanted = await hook(self.turn.step, [event.result for event in new])
        if len(wanted) != len(new) or not all(isinstance(result, ToolResult) for result in wanted):
            raise InvalidHook(f"after_calls gave {_kinds(wanted)} in the place of {len(new)} results: give as many")
        self.rendering.check_results(wanted)
        for event, result in zip(new, wanted, strict=True):
            self.dispatch.ended[event.position] = result
            self.hooked.add(event.position)
        return self.results()

    def _all_results(self, finished: Sequence[CallFinished]) -> list[ToolResult]:
        """Results of the step in call order, with those that are not logged yet."""
        new = {event.position: event.result for event in finished}
        found = [new.get(at, state.result) for at, state in enumerate(self.turn.states)]
        return [result for result in found if result is not None]


def _kinds(given: Sequence[object]) -> str:
    return f"{len(given)} ({', '.join(sorted({type(one).__name__ for one in given}))})" if given else "0"
