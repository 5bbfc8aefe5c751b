"""The lines of a batch's input: cut, and cut into segments."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches import plan as planning
from api.batches.lines import JobLine, Line, _refuse_what_batches_have_not, custom_id, split
from api.batches.plan import Unusable, plan
from distilq.errors import InvalidParameters

TEXT = st.lists(st.sampled_from([b"\n", b"a", b"\xc3", b"{}", b"\r\n", b" "]), max_size=40)


def in_blocks(text: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


@given(pieces=TEXT, cuts=st.lists(st.integers(0, 100)), most=st.integers(1, 100))
def test_however_it_comes_the_lines_are_the_same(
    pieces: list[bytes], cuts: list[int], most: int
) -> None:
    text = b"".join(pieces)
    lines = list(split(in_blocks(text, cuts), most))
    assert [text[line.offset : line.offset + line.length] for line in lines] == text.splitlines(
        keepends=True
    ) or b"\r" in text
    assert b"".join(text[line.offset : line.offset + line.length] for line in lines) == text
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    for line in lines:
        whole = text[line.offset : line.offset + line.length]
        too_long = len(whole.removesuffix(b"\n")) > most
        assert line.raw == (None if too_long else whole)


def test_a_line_that_is_too_long_is_never_held() -> None:
    blocks = [b"a" * 1_000, b"b" * 1_000, b"\nc"]
    assert list(split(blocks, 10)) == [Line(1, 0, 2_001, None), Line(2, 2_001, 1, b"c")]


def test_a_byte_order_mark_belongs_to_no_line() -> None:
    (line,) = split([b"\xef\xbb\xbf{}\n"], 10)
    assert line.raw == b"{}\n"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"custom_id": "a"}', "a"),
        (b'{"custom_id": "a", "body": 1', None),
        (b'{"custom_id": 1}', None),
        (b'{"custom_id": ""}', None),
        (b'["custom_id"]', None),
        (b"\xff", None),
        (json.dumps({"custom_id": "x" * 513}).encode(), None),
    ],
)
def test_the_custom_id_of_a_line(raw: bytes, expected: str | None) -> None:
    assert custom_id(raw) == expected


def lines_of(*ids: str) -> bytes:
    return b"".join(json.dumps({"custom_id": each}).encode() + b"\n" for each in ids)


def test_segments_are_what_lies_between_them() -> None:
    text = b"\n" + lines_of("a", "b") + b"  \n" + lines_of("c", "a", "d")
    found = plan([text], 100, 100, together=2)
    cut = [text[each.offset : each.offset + each.length] for each in found]
    assert cut == [lines_of("a", "b"), lines_of("c", "a"), lines_of("d")]
    assert [(each.first, each.lines, each.twice) for each in found] == [
        (2, 2, ()),
        (5, 2, (6,)),
        (7, 1, ()),
    ]


def test_a_segment_ends_where_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SEGMENT_BYTES", 30)
    found = plan([lines_of("a", "b", "c", "d", "e")], 100, 100, together=500)
    assert [each.lines for each in found] == [2, 2, 1]


@pytest.mark.parametrize("text", [b"", b"\n \n\r\n"])
def test_a_file_without_lines_is_unusable(text: bytes) -> None:
    with pytest.raises(Unusable) as found:
        plan([text], 100, 100, together=2)
    assert found.value.error.code == "empty_file"


def test_a_file_with_too_many_lines_is_unusable() -> None:
    with pytest.raises(Unusable, match="more than 2 lines") as found:
        plan([lines_of("a", "b", "c")], 100, 2, together=2)
    assert found.value.error.code == "too_many_lines"


def test_a_line_with_a_webhook_is_refused_as_its_job_is_soon_forgotten() -> None:
    body = {"inputs": "a", "webhook": {"url": "https://hooks.example.com/"}}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/jobs", "body": body}
    found = JobLine.model_validate_json(json.dumps(line))
    with pytest.raises(InvalidParameters) as raised:
        _refuse_what_batches_have_not(found)
    assert raised.value.members["errors"][0]["pointer"] == "#/body/webhook"
