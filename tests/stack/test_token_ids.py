import json

from hypothesis import given
from hypothesis import strategies as st

from arriero.stack.engine import Sampling
from arriero.stack.engines.completions import request_body
from arriero.stack.token_ids import TokenIds

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=20)


@given(st.lists(st.one_of(IDS, st.integers(0, 40), st.none()), max_size=12))
def test_the_ids_are_those_of_a_list_that_grows_is_cut_and_rests(steps: list[list[int] | int | None]) -> None:
    ids, expected = TokenIds(), list[int]()
    for step in steps:
        if isinstance(step, list):
            ids += step
            expected += step
        elif step is None:
            ids.rest()
        else:
            ids.truncate(step)
            del expected[step:]
        assert json.loads(ids.json()) == expected
        assert ids == expected
        assert list(ids) == ids[:] == expected


@given(IDS)
def test_a_request_is_the_same_as_with_a_list(ids: list[int]) -> None:
    sampling = Sampling(seed=3, stop_ids=(1,))
    assert request_body("m", TokenIds(ids), sampling, 5) == request_body("m", ids, sampling, 5)
