"""Places of pictures in a prompt: how many tokens one takes in Llama 4, and who sees it in Llama 3.2 (section 7)."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart
from arriero.prompts.prompt import Prompt, Segment

IMAGE = "<|image|>"
"""The special token that holds a picture's place, in Llama 3.2 and 4."""

MOST_TILES = 1024
"""More tiles than any picture processor makes: what asks for more is no picture, and its tokens would fill memory."""

TILE, PATCH, PIXEL_SHUFFLE_RATIO = 336, 14, 0.5
"""Llama 4's own measures: the side of a tile and of a patch in pixels, and how much smaller each side becomes."""


def patches_per_tile(*, tile: int = TILE, patch: int = PATCH, pixel_shuffle_ratio: float = PIXEL_SHUFFLE_RATIO) -> int:
    """How many tokens one tile takes.

    Args:
        tile: Side of a tile in pixels.
        patch: Side of a patch in pixels.
        pixel_shuffle_ratio: Factor by which pixel shuffling shortens each side, counted in patches.

    Returns:
        The number.

    Raises:
        InvalidMessage: The tile is not divisible into patches, or a measure is not positive.

    Example:
        >>> patches_per_tile()
        144
    """
    if min(tile, patch, pixel_shuffle_ratio) <= 0 or tile % patch:
        raise InvalidMessage(f"a tile of {tile} pixels cannot be cut into patches of {patch}: give a divisor of {tile}")
    return int((tile // patch) ** 2 // round(1 / pixel_shuffle_ratio**2))


def image_runs(tiles_high: int, tiles_wide: int, *, patches: int = 144) -> tuple[tuple[str, int], ...]:
    """The tokens that stand for a picture in Llama 4, as Meta's code writes them.

    Args:
        tiles_high: Rows of tiles that the picture is cut into.
        tiles_wide: Columns of tiles.
        patches: Tokens of one tile.

    Returns:
        Runs of one special token each, with its number. A picture of several tiles ends with the whole, shrunk.

    Raises:
        InvalidMessage: There is no tile, or more than any picture has.

    Example:
        >>> image_runs(1, 1)
        (('<|image_start|>', 1), ('<|image|>', 1), ('<|patch|>', 144), ('<|image_end|>', 1))
        >>> sum(count for _, count in image_runs(2, 2))
        727
    """
    for name, count in (("tiles_high", tiles_high), ("tiles_wide", tiles_wide)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InvalidMessage(f"a picture has at least one tile each way, not {name}={count!r}")
    if tiles_high * tiles_wide > MOST_TILES:
        raise InvalidMessage(f"{tiles_high} by {tiles_wide} tiles are no picture: {MOST_TILES} tiles are the most")
    tile = ("<|patch|>", patches)
    row = [tile, *[("<|tile_x_separator|>", 1), tile] * (tiles_wide - 1), ("<|tile_y_separator|>", 1)]
    grid = row * tiles_high if tiles_high * tiles_wide > 1 else []
    return (("<|image_start|>", 1), *grid, (IMAGE, 1), tile, ("<|image_end|>", 1))


def tile_grid(width: int, height: int, *, max_tiles: int = 16, tile: int = TILE) -> tuple[int, int]:
    """Into how many tiles Llama 4's picture processor cuts a picture.

    Of all grids it takes the one that enlarges the picture least, or if all shrink it, the one that shrinks it least;
    of several such, the smallest. (Source: `preprocess.py` of llama-models, which the published processor follows.)

    Args:
        width: The picture's width in pixels.
        height: Its height.
        max_tiles: The most tiles that the processor makes of a picture.
        tile: Side of a tile in pixels.

    Returns:
        Rows and columns.

    Raises:
        InvalidMessage: A number is not positive.

    Example:
        >>> tile_grid(800, 300)
        (1, 3)
    """
    if min(width, height, max_tiles, tile) < 1:
        raise InvalidMessage(f"a picture of {width}x{height} pixels has no tiles: give its true size")
    grids = ((high, wide) for high in range(1, max_tiles + 1) for wide in range(1, max_tiles // high + 1))

    def preference(grid: tuple[int, int]) -> tuple[bool, Fraction, int]:
        high, wide = grid
        scale = min(Fraction(wide * tile, width), Fraction(high * tile, height))
        return scale < 1, abs(scale - 1), high * wide

    return min(grids, key=preference)


def expand_images(prompt: Prompt, images: Sequence[ImagePart], *, patches: int = 144) -> Prompt:
    """Put the tokens of each picture where a prompt of Llama 4 holds its place.

    Published templates write one `<|image|>` for a picture; the model reads as many tokens as its tiles take. vLLM and
    transformers expand the place themselves, when they are given the picture: leave it to them there.

    Args:
        prompt: A prompt that holds a place for each picture.
        images: The pictures, in order. One whose tiles are not known keeps its place as it is.
        patches: Tokens of one tile.

    Returns:
        The prompt with places expanded.

    Raises:
        InvalidMessage: There are more or fewer pictures than places.

    Example:
        >>> from arriero.prompts.prompt import Segment
        >>> prompt = expand_images(Prompt((Segment("<|image|>", "special"),)), [ImagePart("", 1, 1)])
        >>> len(prompt.segments)
        147
    """
    places = sum(_is_place(segment) for segment in prompt.segments)
    if places != len(images):
        raise InvalidMessage(f"the prompt holds places for {places} pictures and {len(images)} were given")
    waiting = iter(images)
    segments: list[Segment] = []
    for segment in prompt.segments:
        image = next(waiting) if _is_place(segment) else None
        if image is None or image.tiles_high is None or image.tiles_wide is None:
            segments.append(segment)
            continue
        for token, count in image_runs(image.tiles_high, image.tiles_wide, patches=patches):
            segments += [Segment(token, "special")] * count
    return replace(prompt, segments=tuple(segments))


def vision_mask(token_ids: Sequence[int], place: int) -> tuple[tuple[int, int], ...]:
    """From which tokens each picture of a Llama 3.2 Vision prompt is seen, as Meta's code gives it to the model.

    A picture is seen from its place on, up to the next picture; pictures that follow each other directly are seen from
    all that the last of them is seen from. The last one is seen to the end of the prompt.

    Args:
        token_ids: The prompt.
        place: The id that holds a picture's place.

    Returns:
        For each picture the token where it stands, and the one before which the tokens that see it end. Meta's code
        writes -1 for the end of the prompt where there is one picture, and the prompt's length where there are more.

    Example:
        >>> vision_mask([1, 9, 2, 9, 9, 3], place=9)
        ((1, 3), (3, 6), (4, 6))
        >>> vision_mask([1, 9, 2], place=9)
        ((1, -1),)
    """
    starts = [at for at, id_ in enumerate(token_ids) if id_ == place]
    if len(starts) == 1:
        return ((starts[0], -1),)
    ends = [*starts[1:], len(token_ids)]
    for at in reversed(range(len(starts) - 1)):
        if ends[at] == starts[at] + 1:
            ends[at] = ends[at + 1]
    return tuple(zip(starts, ends, strict=False))


def _is_place(segment: Segment) -> bool:
    return segment.kind == "special" and segment.text == IMAGE
