"""Files of questions, and of the passages that they are asked about."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from arriero.evals.data.lines import Problems, is_csv, quoted, read_rows, stem, write_rows
from arriero.evals.data.values import Values, row_of
from arriero.evals.errors import InvalidData
from arriero.evals.items import Passage, Question, QuestionSet

_QUESTIONS = ("queries", "questions")
_ENDINGS = tuple(f"{kind}{packed}" for kind in (".jsonl", ".csv") for packed in ("", ".gz", ".xz"))


def read_questions(path: str | Path, corpus: str | Path | None = None) -> QuestionSet:
    """Read questions from JSON lines or CSV, and the corpus that they are asked about.

    One object a line: `id` and `question`, and where they are known `history` (`{"role", "text"}`), `answers`,
    `gold_ids`, `near_miss_ids`, `answerable`, `doc_id`, `kind` (or `domain`), `passages` (`{"id", "text", "title"}`).
    Other fields are kept in `extra`. Passages of a corpus are `{"id", "text", "title"}`. In a CSV, `answers` and ids
    are one text or a JSON list, and the other lists are JSON.

    Args:
        path: The file, `.jsonl` or `.csv` in UTF-8, also with `.gz` or `.xz` after that; or a folder with a file
            `queries.jsonl` or `questions.jsonl`.
        corpus: File of passages, or folder of documents, as for `read_folder`. None takes `NAME.corpus.jsonl` for a
            file `NAME.jsonl`, or `corpus.jsonl`, where one lies beside the questions.

    Returns:
        The questions, in order. One that names right passages and does not say so is answerable. One that names no
        document has the title of its first right passage as `doc_id`, or the passage's id, or its own.

    Raises:
        InvalidData: A file cannot be read or breaks these rules; all bad lines and fields are named, up to 20.

    Example:
        >>> import tempfile
        >>> from arriero.evals.items import Question, QuestionSet
        >>> asked = QuestionSet("pass", (Question("high", "How high is the pass?"),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_questions(f"{folder}/pass.jsonl", asked)
        ...     read_questions(f"{folder}/pass.jsonl").questions[0].question
        'How high is the pass?'
    """
    path = _file(Path(path))
    name = stem(path)
    passages = _corpus(path, corpus)
    problems = Problems(path)
    values = Values(Question, problems, text=is_csv(path))
    questions: dict[str, Question] = {}
    for line, row in read_rows(path, problems):
        question = values.read(line, row)
        if question is None:
            continue
        if question.id in questions:
            problems.add(line, "id", f"{quoted(question.id)} was there before; ids are unique")
        _check(question, line, passages, problems)
        questions[question.id] = _completed(question, passages)
    problems.check()
    return QuestionSet(path.absolute().parent.name if name in _QUESTIONS else name, tuple(questions.values()), passages)


def read_corpus(path: str | Path) -> dict[str, Passage]:
    """Read the passages of a corpus.

    Args:
        path: A file of them, or a folder of documents.

    Returns:
        The passages by id, in order.

    Raises:
        InvalidData: It cannot be read, or a line holds no passage.
    """
    from arriero.evals.data.folder import read_documents

    path = Path(path)
    if path.is_dir():
        return read_documents(path)
    problems = Problems(path)
    values = Values(Passage, problems, text=is_csv(path))
    passages: dict[str, Passage] = {}
    for line, row in read_rows(path, problems):
        passage = values.read(line, row)
        if passage is None:
            continue
        if passage.id in passages:
            problems.add(line, "id", f"{quoted(passage.id)} was there before; ids are unique")
        if not passage.text.strip():
            problems.add(line, "text", "is blank")
        passages[passage.id] = passage
    problems.check()
    return passages


def read_folder(folder: str | Path, questions: str | Path) -> QuestionSet:
    """Read questions about a folder of documents.

    Args:
        folder: Markdown, text, HTML and PDF documents; see `read_documents` for how they become passages.
        questions: The questions, as for `read_questions`. They name passages by the ids that `read_documents` gives.

    Returns:
        The questions, and the passages of the documents.

    Raises:
        InvalidData: A document or the questions cannot be read; see `read_questions`.
    """
    if not Path(folder).is_dir():
        raise InvalidData(f"{folder}: there is no such folder; give one that holds documents")
    return read_questions(questions, folder)


def write_questions(path: str | Path, questions: QuestionSet) -> None:
    """Write questions as JSON lines, and their corpus beside them, as `read_questions` finds them.

    Args:
        path: File of the questions, `.jsonl`, also with `.gz` or `.xz` after that. The corpus of `NAME.jsonl` goes to
            `NAME.corpus.jsonl`, if there is one.
        questions: The questions.

    Raises:
        InvalidData: A file cannot be written.
    """
    path = Path(path)
    if questions.corpus:
        write_rows(corpus_beside(path), (row_of(passage) for passage in questions.corpus.values()))
    write_rows(path, (row_of(question) for question in questions.questions))


def corpus_beside(path: Path) -> Path:
    """Where the corpus of a file of questions is written.

    Args:
        path: File of the questions.

    Returns:
        `NAME.corpus.jsonl` for `NAME.jsonl`.
    """
    name = stem(path)
    return path.with_name(f"{name}.corpus{path.name.removeprefix(name)}")


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _QUESTIONS:
        for ending in _ENDINGS:
            if (path / f"{name}{ending}").is_file():
                return path / f"{name}{ending}"
    raise InvalidData(f"{path}: holds no questions; write them to {path / 'questions.jsonl'}")


def _corpus(path: Path, corpus: str | Path | None) -> Mapping[str, Passage]:
    if corpus is not None:
        return read_corpus(corpus)
    name = stem(path)
    for beside in (f"{name}.corpus", "corpus"):
        for ending in _ENDINGS:
            if (path.parent / f"{beside}{ending}").is_file():
                return read_corpus(path.parent / f"{beside}{ending}")
    return {}


def _check(question: Question, line: int, passages: Mapping[str, Passage], problems: Problems) -> None:
    if not question.question.strip():
        problems.add(line, "question", "is blank")
    for name, ids in (("gold_ids", question.gold_ids), ("near_miss_ids", question.near_miss_ids)):
        known = passages.keys() | {passage.id for passage in question.passages}
        unknown = [id_ for id_ in ids if id_ not in known] if known else []
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            problems.add(line, name, f"the corpus has no passage {', '.join(map(quoted, unknown[:3]))}{more}")
    given: set[str] = set()
    for number, passage in enumerate(question.passages):
        if passage.id in given:
            problems.add(line, f"passages[{number}].id", f"{quoted(passage.id)} was there before; ids are unique")
        given.add(passage.id)
        if not passage.text.strip():
            problems.add(line, f"passages[{number}].text", "is blank")


def _completed(question: Question, passages: Mapping[str, Passage]) -> Question:
    """The question with what follows from its other fields."""
    domain = question.extra.get("domain")
    gold = question.gold_ids[0] if question.gold_ids else ""
    title = passages[gold].title.strip() if gold in passages else ""
    return replace(
        question,
        answerable=True if question.answerable is None and question.gold_ids else question.answerable,
        kind=question.kind or (domain if isinstance(domain, str) else ""),
        doc_id=question.doc_id.strip() or title or gold or question.id,
    )
