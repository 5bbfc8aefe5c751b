"""Where tokens begin in their text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.openai.offsets import UNFINISHED, Offsets, Placed
from distilq.jobs import TokenLogprob


def token(text: str) -> TokenLogprob:
    return TokenLogprob(id=0, text=text, logprob=-1.0)


def offsets(text: str, *tokens: str) -> list[int]:
    return [at for at, _ in Offsets().add(map(token, tokens), text, last=True)]


def test_whole_tokens_begin_where_those_before_end() -> None:
    assert offsets("Once upon a", "Once", " up", "on", " a") == [0, 4, 7, 9]


def test_the_parts_of_a_character_begin_where_it_begins() -> None:
    assert offsets("a 😀b", "a", f" {UNFINISHED}", UNFINISHED, UNFINISHED, "b") == [0, 1, 1, 2, 3]
    assert offsets("é", UNFINISHED, UNFINISHED) == [0, 0]


def test_parts_that_become_no_character_stay_in_the_text() -> None:
    assert offsets(f"a{UNFINISHED}b", "a", UNFINISHED, "b") == [0, 1, 2]


def test_the_end_of_text_is_empty_where_it_is_generated_and_spelled_in_a_prompt() -> None:
    assert offsets("ab", "a", "b", "") == [0, 1, 2]
    assert offsets("<|endoftext|>end", "", "end") == [0, 13]
    assert offsets("end", "", "end") == [0, 0]


def test_a_text_that_a_stop_string_cut_ends_amid_a_token() -> None:
    assert offsets("ab", "a", "bc", "d") == [0, 1, 3]
    assert offsets("", "abc") == [0]


CHARACTERS = st.text(alphabet="ab é\u0301世😀", max_size=12)


@st.composite
def pieces(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A text; per token of its bytes how it reads alone, and what it adds to the text."""
    text = draw(CHARACTERS)
    data = text.encode()
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)))))
    found: list[tuple[str, str]] = []
    start, told = 0, ""
    for end in [cut for cut in cuts if cut < len(data)] + [len(data)]:
        known = data[:end].decode(errors="ignore")
        found.append((data[start:end].decode(errors="replace"), known[len(told) :]))
        start, told = end, known
    return text, found


@given(pieces())
def test_offsets_rise_and_do_not_depend_on_the_pieces(
    drawn: tuple[str, list[tuple[str, str]]],
) -> None:
    text, tokens = drawn
    whole = Offsets().add([token(alone) for alone, _ in tokens], text, last=True)
    streamed, found = Offsets(), list[Placed]()
    for number, (alone, added) in enumerate(tokens, start=1):
        found += streamed.add([token(alone)], added, last=number == len(tokens))
    assert found == whole
    places = [at for at, _ in whole]
    assert places == sorted(places)
    assert all(0 <= at <= len(text) for at in places)
    assert len(whole) == len(tokens)


@given(st.lists(st.text(alphabet="abc é世", min_size=1, max_size=4), max_size=20))
def test_offsets_of_whole_tokens_are_exact(tokens: list[str]) -> None:
    text, at = "".join(tokens), 0
    for begins, each in Offsets().add(map(token, tokens), text, last=True):
        assert begins == at
        at += len(each.text)
