"""How alike two models' next tokens are, and which models a text names."""

from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from arriero import Stack
from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question
from arriero.evals.quantization import InvalidVariant, ModelVariant, divergences
from arriero.evals.quantization.agreement import agreement, distributions, kept, recalled
from arriero.evals.quantization.outcomes import answer_outcomes
from arriero.evals.quantization.overheard import Reference, overhearing
from arriero.evals.systems.system import Answer
from arriero.models import DEMO
from arriero.stack.engine import Sampling
from arriero.stack.engines.local import TransformersEngine

SHARES = st.lists(st.floats(0.01, 1.0), min_size=6, max_size=6)


def logs(shares: list[float]) -> NDArray[np.float64]:
    row = np.array(shares)
    found: NDArray[np.float64] = np.log(row / row.sum())[None, :]
    return found


def top(row: NDArray[np.float64], count: int) -> list[dict[int, float]]:
    """What a server reports of it."""
    return [{int(at): float(row[0, at]) for at in np.argsort(-row[0])[:count]}]


@settings(deadline=None)
@given(SHARES, SHARES, st.integers(1, 6), st.integers(1, 6))
def test_what_a_server_reports_gives_a_lower_bound_of_the_divergence(
    one: list[float], other: list[float], named: int, reported: int
) -> None:
    base, variant = logs(one), logs(other)
    whole = float(divergences(base, variant)[0][0])
    assert whole >= 0
    assert float(divergences(base, top(variant, reported))[0][0]) <= whole + 1e-9
    assert float(divergences(top(base, named), top(variant, reported))[0][0]) <= whole + 1e-9
    assert float(divergences(top(base, 6), top(variant, 6))[0][0]) == pytest.approx(whole, abs=1e-9)


@settings(deadline=None)
@given(SHARES, st.integers(1, 6))
def test_a_model_does_not_diverge_from_itself(shares: list[float], reported: int) -> None:
    row = logs(shares)
    for found, same in (divergences(row, row), divergences(top(row, reported), top(row, reported))):
        assert found[0] == pytest.approx(0, abs=1e-9)
        assert same[0]


def test_other_places_and_other_vocabularies_are_refused() -> None:
    with pytest.raises(EvalError, match="1 and 2 places"):
        divergences(logs([1, 1]), np.zeros((2, 2)))
    with pytest.raises(EvalError, match="2 and 3 tokens"):
        divergences(logs([1, 1]), logs([1, 1, 1]))


def test_intervals_are_by_item_and_the_quantile_is_over_places() -> None:
    places = [(str(at), np.full(10, 0.01 * at), np.full(10, at > 0)) for at in range(20)]
    found = agreement(places, exact=True)
    assert (found.places, found.answers, found.divergence.method) == (200, 20, "cluster bootstrap")
    assert found.divergence.value == pytest.approx(0.095)
    assert found.divergence.low < 0.095 < found.divergence.high
    assert found.divergence_95 == pytest.approx(0.18, abs=0.006)
    assert found.same.value == 0.95


def test_a_model_asked_place_by_place_says_what_it_says_of_the_whole_answer(tmp_path: Path) -> None:
    async def compared() -> None:
        async with Stack.local() as stack:
            heard, engine = overhearing(stack)
            engine.cluster = "q"
            prompt = stack.engine.tokenizer.encode("What is the height of the Salda Pass?")
            answer: list[int] = []
            async for delta in heard.engine.generate(prompt, Sampling(max_tokens=4)):
                answer += delta.token_ids
                if delta.finish_reason:
                    break  # as the turn loop does, which asks for nothing after the last delta
            reference = Reference("q", tuple(prompt), (*answer, 7, 8))
            whole, places = await distributions(stack.engine, reference), await distributions(engine, reference)
            assert isinstance(stack.engine, TransformersEngine)
            assert whole.shape == (len(reference.answer), 2550)
            assert [max(row, key=row.__getitem__) for row in places] == whole.argmax(axis=1).tolist()
            found, same = divergences(whole, places)
            assert same.all()
            assert found.max() < 1e-6
            assert engine.heard[0] == Reference("q", tuple(prompt), tuple(answer))
            again = recalled(kept(whole, tmp_path / "0.npy"))
            assert (again == whole).all()

    anyio.run(compared)


def test_a_model_is_named_by_folder_and_precision_or_by_server_and_name() -> None:
    bundled = ModelVariant.parse("local:arriero-demo@int4")
    assert (bundled.folder, bundled.quantization, bundled.name) == (DEMO, "int4", "arriero-demo@int4")
    plain = ModelVariant.parse(f"local:{DEMO}")
    assert (plain.quantization, plain.name) == (None, "arriero-demo@fp32")
    served = ModelVariant.parse("http://localhost:8000/v1#org/llama-fp8")
    assert (served.url, served.model, served.name) == ("http://localhost:8000/v1", "org/llama-fp8", "org/llama-fp8")
    assert ModelVariant.parse("https://host/v1").model is None
    named = ModelVariant.parse(f"small=local:{DEMO}@int8")
    assert (named.name, named.quantization) == ("small", "int8")
    assert ModelVariant.parse("https://host/v1?a=b").url == "https://host/v1?a=b"
    assert ModelVariant.parse("https://ana:secret@host/v1").name == "https://host/v1"


@pytest.mark.parametrize(
    "text", ["", "llama", "local:", "local:/no/such/folder@int8", "local:arriero-demo@int3", "ftp://x"]
)
def test_a_text_that_names_no_model_says_how_to_name_one(text: str) -> None:
    with pytest.raises(InvalidVariant, match=r"local:FOLDER\[@bf16\|@int8\|@int4\]"):
        ModelVariant.parse(text)


def test_outcomes_are_of_the_questions_that_each_measure_is_about() -> None:
    passage = Passage("p", "The toll is 12 silver.")
    questions = {
        "known": Question("known", "?", answers=("12 silver",), gold_ids=("p",), answerable=True),
        "unknown": Question("unknown", "?", answerable=False),
        "missed": Question("missed", "?", answers=("12",), gold_ids=("q",), answerable=True),
        "failed": Question("failed", "?", answers=("12",), gold_ids=("p",), answerable=True),
    }
    answers = [
        Answer("known", "It is 12 silver.", passages=(passage,), cited=(), refused=False),
        Answer("unknown", "It is 12.", passages=(passage,), refused=False),
        Answer("missed", "The documents do not say.", passages=(passage,), refused=True),
        Answer("failed", "", error="timed out"),
    ]
    found = {measure: dict(one.bad) for measure, one in answer_outcomes("v", questions, answers).items()}
    assert found == {
        "refuses rightly": {"known": False, "unknown": True, "missed": True},
        "cites the right passage": {"known": True},
        "answers as accepted": {"known": False, "missed": True},
    }
