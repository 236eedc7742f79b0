"""The evaluation that the demo ends with."""

import pytest

from arriero.examples.evaluation import evaluation

pytestmark = pytest.mark.anyio


async def test_the_corrected_rate_of_the_bundled_answers_holds_what_all_their_labels_say() -> None:
    found = await evaluation()
    truth = [one.item.label for one in found.items]
    corrected = found.answers.corrected
    assert found.answers.labelled == 150
    assert corrected is not None
    share = sum(label or 0 for label in truth) / len(truth)
    assert corrected.low <= share <= corrected.high
