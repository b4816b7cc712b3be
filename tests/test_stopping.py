import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.sampling import SamplingConfig
from charrnn.sampling.stopping import StopCondition, StopStringFilter, UnitLimit

PIECES = st.lists(st.text("ab", max_size=4))


@given(PIECES, st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3))
def test_a_filter_gives_what_stands_before_the_first_stop_string_and_all_that_is_certain(
    pieces: list[str], stops: list[str]
) -> None:
    strings, given_out, fed = StopStringFilter(stops), "", ""
    for character in "".join(pieces):
        given_out += strings.feed(character)
        fed += character
        if complete := [stop for stop in stops if fed.endswith(stop)]:
            assert (given_out, strings.held, strings.found) == (
                fed[: -max(map(len, complete))],
                "",
                True,
            )
            assert strings.feed("ab") == ""
            return
        assert given_out + strings.held == fed
        assert len(strings.held) == max(
            n for stop in stops for n in range(len(stop)) if fed.endswith(stop[:n])
        )


@given(PIECES, st.lists(st.text("ab", min_size=1, max_size=5), max_size=3))
def test_a_filter_does_not_care_how_the_text_comes(pieces: list[str], stops: list[str]) -> None:
    by_piece, by_character = StopStringFilter(stops), StopStringFilter(stops)
    assert "".join(map(by_piece.feed, pieces)) == "".join(map(by_character.feed, "".join(pieces)))


def counted(text: str, until: str, cuts: int = 1) -> str:
    condition = StopCondition(SamplingConfig(until=until))
    pieces = [text[start : start + cuts] for start in range(0, len(text), cuts)]
    return "".join(map(condition.feed, pieces)) + condition.flush()


LINES = "\n one\n\n \ntwo\nthree"


@pytest.mark.parametrize(
    ("text", "until", "expected"),
    [
        pytest.param(LINES, "1line", "\n one", id="a first line"),
        pytest.param(LINES, "2 lines", "\n one\n\n \ntwo", id="blank lines do not count"),
        pytest.param(LINES, "3lines", LINES, id="an open end"),
        pytest.param(LINES, "9lines", LINES, id="never"),
        pytest.param("One. Two! Three?", "1sentence", "One.", id="one sentence"),
        pytest.param("One. Two! Three?", "2 sentences", "One. Two!", id="two"),
        pytest.param(
            "It is 3.14, said e.g.he. Yes.",
            "1sentence",
            "It is 3.14, said e.g.he.",
            id="points inside",
        ),
        pytest.param('"Go!" he said. Then', "1sentence", '"Go!"', id="quotes belong to it"),
        pytest.param("What?!\nNo", "1sentence", "What?!", id="two signs are one end"),
        pytest.param("Well... yes. No", "2sentences", "Well... yes.", id="points in a row"),
        pytest.param(
            "\u884c\u3051\u3002\u300d\u6b21", "1sentence", "\u884c\u3051\u3002\u300d", id="wide"
        ),
        pytest.param(
            "\u884c\u3051\uff01\uff1f\u6b21\u3002x",
            "2sentences",
            "\u884c\u3051\uff01\uff1f\u6b21\u3002",
            id="wide 2",
        ),
        pytest.param("no end", "1sentence", "no end", id="no end"),
    ],
)
@pytest.mark.parametrize("cuts", [1, 3, 100])
def test_lines_and_sentences_are_counted(text: str, until: str, expected: str, cuts: int) -> None:
    assert counted(text, until, cuts) == expected


@given(st.text("a \n", max_size=30), st.integers(1, 4))
def test_lines_against_split(text: str, count: int) -> None:
    lines, kept = text.split("\n"), []
    for line in lines[:-1]:
        kept.append(line)
        if len([one for one in kept if one.strip()]) == count:
            break
    else:
        kept = lines
    assert counted(text, f"{count}lines") == "\n".join(kept)


@given(st.text('a.! \n"', max_size=30), st.integers(1, 4))
def test_sentences_against_an_expression(text: str, count: int) -> None:
    ends = [found.end(1) for found in re.finditer(r"([.!][.!\"]*)\s", text)]
    assert (
        counted(text, f"{count}sentences")
        == text[: ends[count - 1] if len(ends) >= count else None]
    )


def test_nothing_comes_after_the_end() -> None:
    limit = UnitLimit(1, "line")
    assert limit.feed("a\nb") == "a"
    condition = StopCondition(SamplingConfig(until="1line"))
    assert [condition.feed("a\nb"), condition.feed("c\n"), condition.flush()] == ["a", "", ""]


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("c", "a\nb"), ("a", ""), ("d\nX", "a\nbcd"), ("zz", "a\nbcd")],
    ids=repr,
)
def test_whichever_comes_first_ends_the_text(stop: str, expected: str) -> None:
    condition = StopCondition(SamplingConfig(stop=stop, until="2lines"))  # type: ignore[arg-type]
    assert "".join(map(condition.feed, "a\nbcd\ne")) + condition.flush() == expected
