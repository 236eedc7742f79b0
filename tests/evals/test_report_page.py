"""The page of a report, as Chromium shows it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import Chromium, Page, chromium
from reported import EVIL, against, complete, conversations, many, without_rate

from arriero.evals.evaluation import Evaluation
from arriero.evals.items import Span
from arriero.evals.reports import ReportNotWritten, html, write_comparison_html, write_html

LONG = "https://example.org/" + "x" * 300
COUNT = "document.querySelector('[role=status]').textContent"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(running: Chromium) -> Iterator[Chromium]:
    yield running
    running.close_pages()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(conversations(), path)
    return path


def opened(browser: Chromium, path: Path, *, width: int = 1200, dark: bool = False, where: str = "") -> Page:
    page = browser.open(path.as_uri() + where, width=width, dark=dark)
    page.wait("document.getElementById('list').dataset.ready")
    return page


def written(evaluation: Evaluation, folder: Path) -> Path:
    path = folder / "report.html"
    write_html(evaluation, path)
    return path


def unfold(page: Page) -> None:
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait("[...document.querySelectorAll('.item .body')].every((body) => body.querySelector('.passage'))")


def choose(page: Page, name: str, value: str) -> list[str]:
    """Choose in a field, and give the texts of the answers that are left."""
    page.run(
        f"(() => {{ const field = document.querySelector('[data-state={name}]'); field.value = {value!r};"
        " field.onchange(); })()"
    )
    return shown(page)


def shown(page: Page) -> list[str]:
    found: list[str] = page.run(
        "new Promise((done) => setTimeout(() => done([...document.querySelectorAll('.item')]"
        ".map((one) => one.textContent)), 50))"
    )
    return found


@pytest.fixture(scope="module")
def long_pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("long")
    write_html(complete(LONG), folder / "report.html")
    write_comparison_html(against(), folder / "comparison.html")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_fits_the_window_and_can_be_read(browser: Chromium, long_pages: list[Path], width: int, dark: bool) -> None:
    for path in long_pages:
        page = opened(browser, path, width=width, dark=dark)
        page.run("[...document.querySelectorAll('.item')].slice(0, 5).forEach((one) => { one.open = true; })")
        page.wait("document.querySelector('.item .passage')")
        layout = page.layout()
        assert layout.wide == []
        assert layout.width <= width
        assert layout.contrast >= 4.5, layout.faintest
        assert layout.dark is dark
        assert page.console == []


def test_it_asks_for_nothing_but_itself(browser: Chromium, report: Path) -> None:
    page = opened(browser, report)
    unfold(page)
    assert page.requests == [report.as_uri()]
    assert page.console == []


def test_its_policy_lets_no_other_script_run(browser: Chromium, report: Path) -> None:
    page = opened(browser, report)
    page.run("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))")
    page.run("document.body.append(Object.assign(document.createElement('img'), { src: 'https://example.org/x.png' }))")
    assert page.run("window.ran") is None
    assert any("Content Security Policy" in line for line in page.console)


def test_the_number_comes_first_and_needs_no_script(browser: Chromium, report: Path) -> None:
    page = browser.open(report.as_uri())
    text = browser.open(report.as_uri(), scripts=False).call("DOMSnapshot.captureSnapshot", computedStyles=[])
    strings = " ".join(text["strings"])
    corrected = conversations().answers.corrected
    assert corrected is not None
    assert f"{100 * corrected.value:.1f}" in page.run("document.querySelector('main').firstElementChild.textContent")
    assert "Of 100 answers about" in strings
    assert "allow it to see them" in strings
    assert "specificity" in strings


def test_without_labels_the_page_says_that_there_is_no_rate(browser: Chromium, tmp_path: Path) -> None:
    page = opened(browser, written(without_rate(), tmp_path))
    assert page.run("document.querySelector('.number')") is None
    assert "There is no rate of hallucination." in page.run("document.querySelector('.lead').textContent")
    assert page.run("document.querySelector('.reliability')") is None
    assert page.run("document.querySelector('.whisker .name').textContent") == "Flagged by the judge"


def test_pictures_show_the_rate_before_and_after_and_the_reliability(browser: Chromium, report: Path) -> None:
    page = opened(browser, report)
    titles = page.run("[...document.querySelectorAll('svg.intervals title')].map((one) => one.textContent)")
    assert [title.split(":")[0] for title in titles] == [
        "Flagged by the judge, before correction",
        "The labels alone",
        "Hallucinated, after correction",
    ]
    assert page.run("document.querySelectorAll('svg.reliability .dot').length") == len(conversations().reliability)


def test_hostile_content_stays_text(browser: Chromium, tmp_path: Path) -> None:
    page = opened(browser, written(complete(EVIL), tmp_path))
    unfold(page)
    assert page.run("document.body.innerText").count("onerror=") >= 25
    assert page.run("document.querySelectorAll('img, iframe, object, link').length") == 0
    assert page.run("document.querySelectorAll('style').length") == 1
    assert page.console == []


def test_every_answer_has_its_passages_claims_and_marks(browser: Chromium, report: Path) -> None:
    judged = conversations().items[0]
    page = opened(browser, report, where=f"#id={judged.item.id}")
    page.wait("document.querySelector('.passage .text')")
    assert page.run(COUNT).startswith("1 of 315")
    passages = page.run("[...document.querySelectorAll('.passage .text')].map((one) => one.textContent)")
    assert passages == list(judged.item.context)
    assert page.run("document.querySelector('.response').textContent") == judged.item.response
    marks = page.run("[...document.querySelectorAll('mark.judge')].map((one) => one.textContent)")
    spans = judged.judgement.spans
    assert "".join(marks[: len(spans)]) == "".join(judged.item.response[span.start : span.end] for span in spans)
    claims = page.run("[...document.querySelectorAll('.claims > li')].map((one) => one.textContent)")
    assert len(claims) == len(judged.judgement.claims)
    page.run("document.querySelector('.claims button').click()")
    chosen = page.run("[...document.querySelectorAll('.chosen')].map((one) => one.textContent).join('')")
    assert chosen == judged.judgement.claims[0].text


def test_spans_may_overlap_and_stand_behind_letters_of_two_units(browser: Chromium, tmp_path: Path) -> None:
    evaluation = complete()
    judged = evaluation.items[0]
    response = "🐪🐪 Mules 𝒇ly over the 🏔 pass"
    fly, over = response.index("𝒇ly"), response.index("over the")
    item = replace(judged.item, response=response, spans=(Span(fly, over + 8),))
    judgement = replace(judged.judgement, claims=(), spans=(Span(over, len(response)), Span(0, 500), Span(7, 3)))
    judged = replace(judged, item=item, judgement=judgement)
    page = opened(browser, written(replace(evaluation, items=(judged,)), tmp_path), where="#id=mules")
    page.wait("document.querySelector('.response')")
    assert page.run("document.querySelector('.response').textContent") == response
    people = page.run("[...document.querySelectorAll('.response .people')].map((one) => one.textContent).join('')")
    both = page.run("[...document.querySelectorAll('.response .judge.people')].map((one) => one.textContent)")
    assert people == "𝒇ly over the"
    assert both == ["𝒇ly ", "over the"]


def test_a_text_of_a_million_letters_is_drawn_piece_by_piece(browser: Chromium, tmp_path: Path) -> None:
    evaluation = complete()
    judged = evaluation.items[0]
    response = "𝒇" * 30_000 + "Mules fly. " * 60_000
    end = len(response) - 500_000
    item = replace(judged.item, response=response, context=("Mules walk. " * 100_000,), spans=())
    claims = (replace(judged.judgement.claims[0], span=Span(end, end + 10)),)
    judgement = replace(judged.judgement, claims=claims, spans=())
    judged = replace(judged, item=item, judgement=judgement, answer=None)
    page = opened(browser, written(replace(evaluation, items=(judged,)), tmp_path), where="#id=mules")
    page.wait("document.querySelector('.passage .text')")
    drawn = "document.querySelector('.response').textContent"
    assert page.run(f"{drawn}.length") < 21_000
    assert page.run("document.querySelector('.passage .text').textContent.length") < 21_000
    page.run("document.querySelector('.response + button').click()")
    assert response.startswith(page.run(drawn))
    page.run("document.querySelector('.claims button').click()")
    assert page.run("document.querySelector('.chosen').textContent") == response[end : end + 10]


def test_a_lone_half_of_a_letter_does_not_break_the_page(browser: Chromium, tmp_path: Path) -> None:
    page = opened(browser, written(complete("half \ud83d of a letter"), tmp_path))
    assert page.run("document.querySelectorAll('.item').length") == 2


def test_filters_leave_what_they_say(browser: Chromium, report: Path) -> None:
    items = conversations().items
    page = opened(browser, report)

    def left() -> int:
        shown(page)
        return int(page.run(COUNT).split()[0])

    choose(page, "judge", "yes")
    assert left() == sum(one.flagged is True for one in items)
    choose(page, "label", "0")
    assert left() == sum(one.flagged is True and one.label == 0 for one in items)
    page.run("document.querySelector('[data-state=disagree]').click()")
    assert left() == sum(one.flagged is True and one.label == 0 for one in items)
    choose(page, "judge", "")
    choose(page, "label", "")
    disagree = [one for one in items if one.label is not None and one.flagged != bool(one.label)]
    assert left() == len(disagree)
    choose(page, "model", "gpt-4o")
    assert left() == sum(one.item.model == "gpt-4o" for one in disagree)
    assert "disagree=1" in page.run("location.hash")
    again = opened(browser, report, where=page.run("location.hash"))
    assert again.run(COUNT) == page.run(COUNT)


def test_a_search_finds_words_of_answers_and_of_passages(browser: Chromium, report: Path) -> None:
    items = conversations().items
    word = next(
        word.lower()
        for one in items
        for word in one.item.context[0].split()
        if word.isalpha() and len(word) > 9 and word.lower() not in one.item.response.lower()
    )
    page = opened(browser, report)
    page.run("document.querySelector('[data-state=q]').focus()")
    page.press(*word)
    page.wait(f"!{COUNT}.startsWith('315')")
    found = int(page.run(COUNT).split()[0])
    judged = [
        one
        for one in items
        if word in " ".join([one.item.id, one.item.question or "", one.item.response, *one.item.context]).lower()
    ]
    assert found == len(judged) > 0
    unfold(page)
    assert page.run("CSS.highlights.get('found').size") > 0


def test_names_in_the_tables_lead_to_their_answers(browser: Chromium, report: Path) -> None:
    evaluation = conversations()
    page = opened(browser, report)
    first = evaluation.documents[0].name
    page.wait("document.querySelector('td button')")
    page.run(f"[...document.querySelectorAll('td button')].find((one) => one.textContent === {first!r}).click()")
    shown(page)
    assert page.run(COUNT).startswith(f"{sum(one.item.doc_id == first for one in evaluation.items)} of")
    page.run("document.querySelector('.bar button').click()")
    shown(page)
    assert page.run(COUNT).startswith("315 of")


def test_it_can_be_used_from_the_keyboard_alone(browser: Chromium, report: Path) -> None:
    page = opened(browser, report)
    page.run("document.querySelector('[data-state=q]').focus()")
    for _ in range(12):
        page.press("Tab")
        if page.run("document.activeElement.tagName") == "SUMMARY":
            break
    page.press("Enter")
    page.wait("document.querySelector('.item').open && document.querySelector('.item .passage')")
    outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.run("document.querySelector('.item .body button').focus()")
    page.press("Enter")
    page.wait(f"{COUNT}.startsWith('1 of')")
    assert page.run("document.activeElement.textContent").startswith("only answer")
    page.press("Enter")
    page.wait(f"{COUNT}.startsWith('315 of') && document.activeElement.type === 'search'")
    page.run("[...document.querySelectorAll('button')].find((one) => one.textContent.startsWith('Next')).focus()")
    page.press("Enter")
    page.wait("document.querySelectorAll('.bar')[1].textContent.includes('page 2')")
    page.wait("document.activeElement.tagName === 'SUMMARY'")


def test_meaning_is_in_words_or_lines_and_not_in_colour_alone(browser: Chromium, report: Path) -> None:
    page = opened(browser, report)
    unfold(page)
    chips = page.run(
        "[...document.querySelectorAll('.chip.bad, .chip.good, .chip.waits')].map((one) => one.textContent)"
    )
    assert all(any(char.isalpha() for char in chip) for chip in chips)
    line = page.run("getComputedStyle(document.querySelector('mark.judge')).textDecorationStyle")
    assert line == "wavy"
    unnamed = page.run(
        "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length).length"
        " + [...document.querySelectorAll('button, summary')].filter((one) => !one.textContent.trim()).length"
        " + [...document.querySelectorAll('svg')].filter((one) => !one.getAttribute('aria-label')).length"
    )
    assert unnamed == 0


def test_thousands_of_answers_open_at_once_and_only_some_are_drawn(browser: Chromium, tmp_path: Path) -> None:
    path = written(many(2_000), tmp_path)
    assert path.stat().st_size < 4_000_000
    packs = path.read_text("utf-8").count('class="packed-passages"')
    page = opened(browser, path)
    packed = "[...document.getElementsByClassName('packed-passages')].filter((one) => one.textContent).length"
    assert page.run(packed) == packs > 1
    assert page.run("document.querySelectorAll('.item').length") == 25
    assert page.run("document.querySelectorAll('*').length") < 2_500
    page.run("[...document.querySelectorAll('button')].find((one) => one.textContent.startsWith('Next')).click()")
    page.wait("document.querySelectorAll('.bar')[1].textContent.includes('page 2 of 80')")


def test_what_does_not_fit_is_left_out_and_the_page_says_so(browser: Chromium, tmp_path: Path) -> None:
    evaluation = many(2_000)
    path = tmp_path / "small.html"
    path.write_text(html(evaluation, most_bytes=400_000), "utf-8")
    assert path.stat().st_size < 480_000
    page = opened(browser, path)
    text = page.run("document.getElementById('items').textContent")
    assert "more answers are not in it" in text
    assert "without some of their passages" in text
    scores = sorted((one.judgement.score or 0.0 for one in evaluation.items), reverse=True)
    assert page.run("document.querySelector('.item .chip').textContent").startswith(f"{scores[0]:.2f}")


def test_differences_of_runs_stand_side_by_side(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    write_comparison_html(against(), path)
    page = opened(browser, path)
    found = against()
    worse = {pair.key for one in found for pair in one.pairs if (pair.base.label, pair.candidate.label) == (0, 1)}
    assert page.run("document.querySelector('.item .chip').textContent").startswith("became")
    choose(page, "change", "worse")
    assert page.run(COUNT).startswith(f"{len(worse)} of")
    unfold(page)
    sides = page.run("[...document.querySelector('.sides').children].map((one) => one.querySelector('h3').textContent)")
    assert sides == ["reference", "gpt-4o", "llama-3.1-405b-instruct"]
    lefts = page.run("[...document.querySelector('.sides').children].map((one) => one.getBoundingClientRect().left)")
    assert lefts == sorted(set(lefts))
    assert page.run("document.querySelectorAll('svg.intervals .whisker').length") == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportNotWritten, match="no-folder"):
        write_html(without_rate(), tmp_path / "no-folder" / "report.html")
