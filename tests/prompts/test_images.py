"""Pictures take the tokens that Llama 4 reads for them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import rendered

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.formats import FORMATS
from arriero.prompts.images import expand_images, image_runs, patches_per_tile, tile_grid
from arriero.prompts.messages import ImagePart
from arriero.prompts.prompt import Prompt, Segment

PLACE = Segment("<|image|>", "special")


@pytest.mark.parametrize("vector", rendered("meta-llama4-image"))
def test_a_picture_takes_the_tokens_that_metas_code_writes(vector: dict[str, Any]) -> None:
    made = FORMATS[vector["format"]].render(vector["input"])
    assert [list(run) for run in made.runs or ()] == vector["expected_runs"]
    assert made.token_count == vector["expected_token_count"]


@given(high=st.integers(1, 16), wide=st.integers(1, 16))
def test_the_number_of_tokens_follows_from_the_tiles(high: int, wide: int) -> None:
    count = sum(count for _, count in image_runs(high, wide))
    assert count == (147 if high * wide == 1 else (high * wide + 1) * 144 + high * (wide - 1) + high + 3)


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        (336, 336, (1, 1)),
        (1, 1, (1, 1)),
        (337, 336, (1, 2)),
        (672, 672, (2, 2)),
        (1600, 400, (2, 5)),
        (9, 90, (1, 1)),
        (700, 2500, (8, 2)),
    ],
)
def test_a_picture_is_cut_into_the_tiles_that_fit_it_best(width: int, height: int, grid: tuple[int, int]) -> None:
    assert tile_grid(width, height) == grid


@given(width=st.integers(1, 10_000), height=st.integers(1, 10_000))
def test_a_grid_turns_with_its_picture_and_keeps_to_the_most_tiles(width: int, height: int) -> None:
    high, wide = tile_grid(width, height)
    assert high * wide <= 16
    assert tile_grid(height, width) == (wide, high)


def test_only_places_that_the_template_wrote_are_expanded() -> None:
    said = Segment("<|image|>", "content")
    prompt = expand_images(Prompt((PLACE, said, PLACE)), [ImagePart(tiles_wide=1, tiles_high=1), ImagePart()])
    assert len(prompt.segments) == 147 + 2
    assert prompt.segments[-2:] == (said, PLACE)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: image_runs(0, 1), "tiles_high=0"),
        (lambda: image_runs(1, True), "tiles_wide=True"),
        (lambda: tile_grid(0, 5), "0x5 pixels"),
        (lambda: patches_per_tile(patch=15), "cannot be cut into patches of 15"),
        (lambda: patches_per_tile(pixel_shuffle_ratio=0), "cannot be cut"),
        (lambda: expand_images(Prompt((PLACE,)), []), "places for 1 pictures and 0 were given"),
    ],
)
def test_measures_that_make_no_picture_are_refused(make: Any, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        make()
