"""The page in a real browser, opened from disk: `make browser-test`."""

from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from chromium import Browser
from small_runs import OPTIONS, TEXT

pytestmark = pytest.mark.browser

ADDED = "He said \u201cyes\u201d.\nThen 3 dogs (all of them) sat. \u202eevil\u202c </script>\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that a run has written for itself."""
    from charrnn.__main__ import run

    folder = tmp_path_factory.mktemp("page")
    text = folder / "text.txt"
    text.write_text((TEXT + ADDED) * 4, encoding="utf-8")
    words = ["train", str(text), "--out", str(folder / "run"), "--quiet", *OPTIONS]
    assert run([*words, "--num-layers", "2", "--page"]) == 0
    return folder / "run" / "page.html"


@pytest.fixture(scope="module")
def opened(page: Path) -> Iterator[Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip("there is no Chromium")
    with chromium.browser(program) as one:
        one.appearance(1000, 800)
        one.open(page)
        one.wait("reader.isDone")
        yield one
        assert one.complaints == []
        assert one.requests == [page.resolve().as_uri()]


def classes(browser: Browser, view: str) -> set[str]:
    found = browser.run(f"{view}.spans.map((span) => span.className.split(' ')[0])")
    return set(found) - {""}


def test_checks_itself_against_charrnn(opened: Browser) -> None:
    assert opened.run("Number(document.getElementById('check').dataset.greatest)") < 1e-4
    assert "Checked just now" in opened.run("document.getElementById('check').textContent")


def test_writes_after_a_prompt_that_is_typed_and_stops(opened: Browser) -> None:
    opened.run("document.getElementById('prompt').focus()")
    opened.type("the cat")
    opened.run("document.getElementById('length').value = 60")
    opened.run("document.getElementById('go').click()")
    opened.wait("writing.writer.isDone")
    written = opened.run("writtenView.box.textContent")
    assert written.replace("\u21b5", "").startswith("the cat")
    assert opened.run("writing.writer.written.length") == 60
    assert opened.run("document.getElementById('halt').disabled")

    opened.run("document.getElementById('length').value = 100000")
    opened.run("document.getElementById('speed').value = 50")
    opened.run("document.getElementById('go').click()")
    opened.wait("writing.drawn > 3")
    opened.run("document.getElementById('halt').click()")
    drawn = opened.run("writing.drawn")
    opened.run("new Promise((done) => setTimeout(done, 100))")
    assert opened.run("writing.drawn") == drawn < 1000
    assert "a second" in opened.run("document.getElementById('write-status').textContent")


def test_a_prompt_of_unknown_characters_is_refused_by_name(opened: Browser) -> None:
    opened.run("document.getElementById('prompt').value = 'x\u4f60'; startWriting()")
    assert "U+4f60" in opened.run("document.getElementById('write-status').textContent")


def test_colours_a_text_as_it_is_typed(opened: Browser) -> None:
    opened.run("document.getElementById('own').value = ''; readText()")
    opened.wait("reader.isDone")
    opened.run("document.getElementById('own').focus()")
    for word in ("zzz ", "the ", "cat"):
        opened.type(word)
        opened.wait("reader.isDone")
    assert opened.run("textView.box.textContent") == "zzz the cat"
    assert classes(opened, "textView") & {"s1", "s2", "s3", "s4", "s5"}
    assert "bits per character" in opened.run("document.getElementById('look-status').textContent")
    opened.run("document.getElementById('restore').click()")
    opened.wait("reader.isDone")
    assert opened.run("isExcerpt()")


def test_the_arrow_keys_move_from_symbol_to_symbol(opened: Browser) -> None:
    opened.run("textView.select(3); textView.box.focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        opened.press(key)
    assert opened.run("textView.selected") == 4
    assert opened.run("document.querySelectorAll('#text-details li').length") == 5
    opened.press("End")
    assert opened.run("textView.selected === reader.tokens.length - 1")


def test_units_colour_the_text_by_number_by_name_and_by_pointer(opened: Browser) -> None:
    opened.run(
        "document.getElementById('unit').value = 3; "
        "document.getElementById('unit').dispatchEvent(new Event('change'))"
    )
    assert opened.run("[look.layer, look.unit, look.lens]") == [0, 2, "unit"]
    assert classes(opened, "textView") & {"n1", "n2", "n3", "p1", "p2", "p3"}
    x, y = opened.run(
        "(() => { const map = document.querySelectorAll('#maps canvas')[1]; map.scrollIntoView(); "
        "const { x, y } = map.getBoundingClientRect(); return [x + 40, y + 5]; })()"
    )
    opened.move(x, y)
    assert opened.run("look.shown") == {"layer": 1, "unit": 3}
    opened.move(x, y - 300)
    assert opened.run("look.shown") is None


def test_memory_shades_what_is_before_the_symbol_that_is_pointed_at(opened: Browser) -> None:
    opened.run("document.querySelector('input[value=memory]').click()")
    x, y = opened.run(
        "(() => { const one = textView.spans[30]; one.scrollIntoView({ block: 'center' }); "
        "const { x, y } = one.getBoundingClientRect(); return [x + 3, y + 3]; })()"
    )
    opened.move(x, y)
    assert opened.run("textView.selected") == 30
    shaded = opened.run("textView.spans.map((one, n) => /m[1-4]/.test(one.className) ? n : -1)")
    assert {place for place in shaded if place >= 0} <= set(range(30))
    assert classes(opened, "textView") & {"m4"}


def test_the_slider_shows_what_was_written_during_training(opened: Browser) -> None:
    last = opened.run("document.getElementById('sample-text').textContent")
    opened.run("document.getElementById('sample').focus()")
    opened.press("Home")
    assert opened.run("document.getElementById('sample-step').textContent") == "step 1"
    assert opened.run("document.getElementById('sample-text').textContent") != last


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_on_a_telephone(opened: Browser, dark: bool) -> None:
    opened.appearance(360, 740, dark=dark)
    assert opened.run("document.documentElement.scrollWidth") <= 360
    background = opened.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    opened.appearance(1000, 800)


def test_everything_that_can_be_used_has_a_name(opened: Browser) -> None:
    unnamed = opened.run(
        "[...document.querySelectorAll('button, input, select, textarea, canvas, [tabindex]')]"
        ".filter((one) => !(one.labels?.length || one.textContent || one.ariaLabel))"
        ".map((one) => one.outerHTML)"
    )
    assert unnamed == []


def test_another_script_does_not_run_and_nothing_is_loaded(page: Path) -> None:
    program = chromium.find()
    if program is None:
        pytest.skip("there is no Chromium")
    with chromium.browser(program) as one:
        one.open(page)
        one.run(
            "const added = document.createElement('script'); added.textContent = 'window.ran = 1'; "
            "document.body.append(added)"
        )
        one.run(
            "new Promise((done) => { const one = new Image(); one.onerror = done; "
            "one.src = 'http://127.0.0.1:9/x.png'; })"
        )
        assert one.run("window.ran") is None
        assert any("Content Security Policy" in complaint for complaint in one.complaints)
