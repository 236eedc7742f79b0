"""Data that ships, to try an evaluation on."""

from dataclasses import dataclass
from pathlib import Path

from arriero.evals.data.grounding import read_items
from arriero.evals.data.questions import read_questions
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, QuestionSet

_FOLDER = Path(__file__).resolve().parent.parent / "samples"


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample that ships; `README.md` beside it says where it is from and under which licence.

    Args:
        name: Its name.
        path: Its file.
        about: What it is, in a line.
        licence: Its licence.
    """

    name: str
    path: Path
    about: str
    licence: str

    def items(self) -> tuple[GroundingItem, ...]:
        """Its items.

        Raises:
            InvalidData: It holds questions.
        """
        return read_items(self.path)

    def questions(self) -> QuestionSet:
        """Its questions, with their corpus.

        Raises:
            InvalidData: It holds items.
        """
        return read_questions(self.path)


_ALL = {
    sample.name: sample
    for sample in (
        Sample(
            "grounding",
            _FOLDER / "grounding.jsonl.xz",
            "644 turns of conversations by four systems, labelled by people (BEGIN, test split)",
            "CC BY 4.0",
        ),
        Sample(
            "talk-dodeca",
            _FOLDER / "talk-dodeca.jsonl.xz",
            "96 turns of one system, labelled by people (Q2, test split)",
            "Apache-2.0, CC BY 4.0",
        ),
        Sample(
            "talk-memnet",
            _FOLDER / "talk-memnet.jsonl.xz",
            "the same 96 turns by another system",
            "Apache-2.0, CC BY 4.0",
        ),
        Sample(
            "rag-llama",
            _FOLDER / "rag-llama.jsonl.xz",
            "35 answers of Llama 3.1 405B Instruct from passages, rated by people (mtRAG, test split)",
            "Apache-2.0",
        ),
        Sample(
            "rag-gpt4o",
            _FOLDER / "rag-gpt4o.jsonl.xz",
            "GPT-4o's answers to the same 35 questions",
            "Apache-2.0",
        ),
        Sample(
            "handbook",
            _FOLDER / "handbook.jsonl",
            "54 questions about the traders' handbook, 26 of which it does not answer",
            "Apache-2.0",
        ),
    )
}

SAMPLES: tuple[str, ...] = tuple(_ALL)
"""Names of the samples. All but `handbook`, which holds questions, hold items."""


def sample(name: str) -> Sample:
    """A sample that ships.

    Args:
        name: One of `SAMPLES`.

    Returns:
        The sample.

    Raises:
        EvalError: There is none of that name.

    Example:
        >>> items = sample("grounding").items()
        >>> len(items), sum(item.label or 0 for item in items)
        (644, 378)
        >>> sample("handbook").questions().questions[0].question
        'What is the length of the Chain Bridge?'
    """
    if name not in _ALL:
        raise EvalError(f"there is no sample {name!r}: use one of {', '.join(SAMPLES)}")
    return _ALL[name]
