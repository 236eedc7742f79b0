"""The labelling page in Chromium, by real key presses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import Chromium, Page, chromium
from labelling_server import EVIL, Served, kept_in, mules, served

from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label, read_labels

LONG = "https://example.org/" + "x" * 300


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


def opened(browser: Chromium, page: Served, name: str = "ana", **options: int) -> Page:
    tab = browser.open(page.pages[name], **options)
    settled(tab)
    return tab


def settled(tab: Page) -> None:
    """Wait until nothing is being loaded or saved."""
    tab.wait("document.getElementById('name').textContent && !document.body.hasAttribute('aria-busy')")


def press(tab: Page, *keys: str) -> None:
    for key in keys:
        tab.press(key)
        settled(tab)


def text(tab: Page, name: str) -> str:
    return str(tab.run(f"document.getElementById('{name}').textContent"))


def said(page: Served, name: str = "ana") -> dict[str, int | None]:
    return {label.item_id: label.value for label in read_labels(page.labelling.path) if label.annotator == name}


def test_keys_label_items_one_after_the_other(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        press(tab, "1", "h", "0", "s", "u")
        assert said(page) == {"mule-0": 1, "mule-1": 1, "mule-2": 0, "mule-3": 0, "mule-4": None}
        assert text(tab, "place") == "· item 6 of 12"
        assert text(tab, "count") == "5 of 12 labelled"
        assert text(tab, "status") == "saved: cannot say"
        assert tab.console == []


def test_a_reload_goes_on_where_one_was(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        press(opened(browser, page), "1", "0")
        assert text(opened(browser, page), "place") == "· item 3 of 12"


def test_one_can_go_back_and_say_otherwise(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        press(tab, "1", "1", "k", "ArrowLeft")
        assert text(tab, "place") == "· item 1 of 12"
        assert tab.run("document.querySelector('[aria-pressed=true]').dataset.value") == "1"
        press(tab, "0")
        assert said(page) == {"mule-0": 0, "mule-1": 1}
        assert text(tab, "place") == "· item 1 of 12"
        press(tab, "j", "ArrowRight", "k")
        assert text(tab, "place") == "· item 2 of 12"
        press(tab, "Enter")
        assert text(tab, "place") == "· item 3 of 12"


def test_undo_takes_back_step_by_step(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        press(tab, "1", "0", "k", "u", "z")
        assert said(page) == {"mule-0": 1, "mule-1": 0}
        press(tab, "z")
        assert said(page) == {"mule-0": 1}
        assert text(tab, "place") == "· item 2 of 12"
        press(tab, "z", "z")
        assert said(page) == {}
        assert text(tab, "status") == "nothing to undo"
        assert text(tab, "count") == "0 of 12 labelled"


def test_a_note_goes_with_its_label_and_its_letters_are_no_commands(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        press(tab, "n", *"10 hu")
        assert said(page) == {}
        press(tab, "Escape", "1")
        (label,) = read_labels(page.labelling.path)
        assert (label.value, label.note) == (1, "10 hu")
        press(tab, "k", "n", "?", "Escape")
        assert read_labels(page.labelling.path)[0].note == "10 hu?"
        press(tab, "j", "n", "a", "Escape", "j", "k")
        assert tab.run("document.getElementById('note').value") == "a"


def test_buttons_do_what_keys_do_and_enter_presses_none_of_them_again(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        tab.run("(document.getElementById('note').focus(), document.execCommand('insertText', false, 'late'))")
        tab.run("(document.querySelector('[data-value=\"1\"]').focus(), document.activeElement.click())")
        settled(tab)
        assert [(label.value, label.note) for label in read_labels(page.labelling.path)] == [(1, "late")]
        press(tab, "Enter")
        assert said(page) == {"mule-0": 1}
        tab.run("document.getElementById('undo').click()")
        settled(tab)
        assert said(page) == {}


def test_the_words_of_a_sentence_are_marked_in_the_passages(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        marked = "[...document.querySelectorAll('mark')].map((one) => one.textContent)"
        press(tab, "c")
        assert tab.run(marked) == ["train", "left", "Vesk", "05", "40"]
        press(tab, "c")
        assert tab.run(marked) == []
        press(tab, "C")
        assert "Vesk" in tab.run(marked)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_first_marked_word_is_in_view_and_not_behind_the_buttons(
    tmp_path: Path, browser: Chromium, width: int
) -> None:
    item = GroundingItem("x", ("It was noon. " * 300, "\n\nThe train left Vesk."), "They left Vesk.", question="Where?")
    with served(kept_in(tmp_path, [item]), "ana") as page:
        tab = opened(browser, page, width=width)
        press(tab, "c")
        tops = "((mark, nav) => [mark.top, mark.bottom, nav.top])(document.querySelector('mark')"
        top, bottom, buttons = tab.run(
            f"{tops}.getBoundingClientRect(), document.getElementById('choices').getBoundingClientRect())"
        )
        assert 0 <= top < bottom <= buttons
        assert tab.run("document.querySelectorAll('#passages li')[1].textContent") == "The train left Vesk."


def test_when_all_is_done_it_says_so_and_how_far_people_agree(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana", "ben") as page:
        page.label_all("ben", [1, 0] * 6)
        tab = opened(browser, page)
        press(tab, *"101010101010")
        assert text(tab, "done-title") == "All 12 items are labelled."
        assert "Cohen's kappa1.00 [" in text(tab, "agreement")
        assert text(tab, "disputed") == "ana and ben differ on 0 of 12 items."
        press(tab, "k")
        assert text(tab, "place") == "· item 12 of 12"
        press(tab, "j", "Enter")
        assert text(tab, "done-title") == "Finished. You can close this page."


def test_who_is_not_done_yet_is_named(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path, mules(3)), "ana", "ben") as page:
        tab = opened(browser, page)
        press(tab, "1", "0", "0")
        assert text(tab, "waits") == "Not done yet: ben."
        assert text(tab, "agreement") == ""


def test_what_was_not_saved_is_not_shown_as_saved(tmp_path: Path, browser: Chromium) -> None:
    (tmp_path / "there").mkdir()
    with served(kept_in(tmp_path / "there"), "ana") as page:
        tab = opened(browser, page)
        press(tab, "1")
        (tmp_path / "there").rename(tmp_path / "gone")
        press(tab, "0")
        assert text(tab, "alert").startswith("not saved: ")
        assert text(tab, "count") == "1 of 12 labelled"
        assert text(tab, "place") == "· item 2 of 12"
        (tmp_path / "gone").rename(tmp_path / "there")
        press(tab, "0")
        assert tab.run("document.getElementById('alert').hidden")
        assert said(page) == {"mule-0": 1, "mule-1": 0}


def test_when_the_command_has_ended_the_page_says_so(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
    press(tab, "1")
    assert "the command that serves this page has ended" in text(tab, "alert")
    assert text(tab, "count") == "0 of 12 labelled"


def test_hostile_content_stays_text(tmp_path: Path, browser: Chromium) -> None:
    item = GroundingItem("x", (EVIL, EVIL), f"{EVIL}. {EVIL}", question=EVIL)
    judged = {"x": Judgement("x", EVIL, 0.5, reasons=(EVIL,))}
    name = '<img src=x onerror="alert(1)">'
    with served(replace(kept_in(tmp_path, [item]), name=EVIL, judgements=judged), name) as page:
        append_label(page.labelling.path, Label("x", name, 1, EVIL))
        tab = opened(browser, page, name)
        press(tab, "k", "c")
        assert tab.run("document.querySelectorAll('main img, main script, main b:not(#judge > b)').length") == 0
        assert tab.run("document.body.innerText.split('onerror=').length") >= 8
        assert tab.run("document.title").startswith("</script>")
        assert tab.run("document.getElementById('note').value") == EVIL
        assert tab.console == []


def test_nothing_is_asked_of_anybody_else(tmp_path: Path, browser: Chromium) -> None:
    with served(kept_in(tmp_path), "ana") as page:
        tab = opened(browser, page)
        press(tab, "1", "c", "?")
        assert [address for address in tab.requests if not address.startswith((page.pages["ana"], "data:"))] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_fits_the_window_and_can_be_read(tmp_path: Path, browser: Chromium, width: int, dark: bool) -> None:
    item = GroundingItem("x", (LONG, "Mules are patient."), f"{LONG} is long. Mules are patient.", question=LONG)
    judged = {"x": Judgement("x", "offline", 0.5, reasons=(LONG,))}
    with served(replace(kept_in(tmp_path, [item]), name=LONG, judgements=judged), "ana") as page:
        tab = opened(browser, page, width=width, dark=dark)
        layouts = []
        for keys in (("c", "c"), ("?",), ("?", "1")):
            press(tab, *keys)
            layouts.append(tab.layout())
        assert text(tab, "done-title") == "All 1 items are labelled."
    for layout in layouts:
        assert layout.wide == []
        assert layout.width <= width
        assert layout.contrast >= 4.5, layout.faintest
        assert layout.dark is dark
    assert tab.console == []
