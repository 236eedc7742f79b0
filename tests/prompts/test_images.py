"""Pictures take the tokens that Llama 4 reads for them."""

from collections.abc import Callable
from itertools import dropwhile, takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import rendered

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.formats import FORMATS
from arriero.prompts.images import expand_images, image_runs, patches_per_tile, tile_grid, vision_mask
from arriero.prompts.messages import ImagePart
from arriero.prompts.prompt import Prompt, Segment
from arriero.prompts.tiktoken_vocabulary import Generation
from arriero.prompts.tokens import Tokenizer

PLACE = Segment("<|image|>", "special")


@pytest.mark.parametrize("vector", rendered("meta-llama4-image"))
def test_a_picture_takes_the_tokens_that_metas_code_writes(vector: dict[str, Any]) -> None:
    made = FORMATS[vector["format"]].render(vector["input"])
    assert [list(run) for run in made.runs or ()] == vector["expected_runs"]
    assert made.token_count == vector["expected_token_count"]


@pytest.mark.parametrize("vector", [case for case in rendered("meta-llama3") if "vision_mask" in case.values[0]])
def test_a_picture_is_seen_from_the_tokens_that_metas_code_gives(
    vector: dict[str, Any], meta_tokenizer: Tokenizer
) -> None:
    mask = FORMATS[vector["format"]].render(vector["input"]).vision_mask(meta_tokenizer)
    assert [list(seen) for seen in mask] == (vector["vision_mask"] or [])


@given(st.lists(st.booleans(), max_size=12))
def test_every_token_after_a_picture_sees_it_until_the_next_run_of_pictures(places: list[bool]) -> None:
    mask = vision_mask([9 if place else 1 for place in places], place=9)
    assert [start for start, _ in mask] == [at for at, place in enumerate(places) if place]
    for at, place in enumerate(places):
        seen = [start for start, end in mask if start < at < (end if end > 0 else len(places))]
        run = list(takewhile(lambda before: places[before], dropwhile(lambda b: not places[b], range(at - 1, -1, -1))))
        if not place:
            assert seen == sorted(run)


def test_llama_4_has_no_mask_and_neither_has_what_is_no_prompt(
    meta: Callable[[Generation], Tokenizer], meta_tokenizer: Tokenizer
) -> None:
    given = {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]}
    assert FORMATS["hf-llama-4"].render(given).vision_mask(meta("llama4")) == ()
    assert FORMATS["hf-llama-3.2-vision"].render(given).vision_mask(meta_tokenizer) == ((5, -1),)
    assert FORMATS["meta-tool-response"].render({"status": "completed"}).vision_mask(meta_tokenizer) == ()


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
        (lambda: image_runs(10**9, 10**9), "1024 tiles are the most"),
        (lambda: tile_grid(0, 5), "0x5 pixels"),
        (lambda: patches_per_tile(patch=15), "cannot be cut into patches of 15"),
        (lambda: patches_per_tile(pixel_shuffle_ratio=0), "cannot be cut"),
        (lambda: expand_images(Prompt((PLACE,)), []), "places for 1 pictures and 0 were given"),
    ],
)
def test_measures_that_make_no_picture_are_refused(make: Any, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        make()
