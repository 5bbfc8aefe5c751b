"""What jobs that stream are given, token by token: joined it is the text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from distilq.events import Token, decoded, encoded
from distilq.jobs import JobRequest, Outcome
from distilq.parameters import Parameters
from tests.unit.fakes import END, CountingModel
from worker.engine import Engine
from worker.names import BUNDLED
from worker.rows import Row
from worker.streams import UNFINISHED, Streams, Text
from worker.tokens import ByteTokenizer, HubTokenizer

Written = list[tuple[str, int, list[Token]]]


def run(
    model: CountingModel, requests: Sequence[JobRequest]
) -> tuple[dict[str, Outcome], dict[str, Written]]:
    """Outcomes and entries by key, as the pool would write them."""
    engine = Engine(model, ByteTokenizer(), max_rows=8, max_batch_tokens=1 << 16, prefill_budget=64)
    for number, request in enumerate(requests):
        engine.submit(str(number), request)
    streams = Streams(engine.tokenizer)
    outcomes: dict[str, Outcome] = {}
    entries: dict[str, Written] = {}
    while len(outcomes) < len(requests):
        outcomes |= dict(engine.step())
        for entry in streams.entries(engine.emitted()):
            entries.setdefault(entry[0], []).append(entry)
    return outcomes, entries


def streaming(inputs: Any = "a", **asked: Any) -> JobRequest:
    parameters = Parameters(**({"return_full_text": False, "seed": 0} | asked))
    return JobRequest(inputs=inputs, stream=True, parameters=parameters)


def joined(written: Written) -> dict[tuple[int, int], str]:
    """By input and sequence, all the text that was given."""
    found: dict[tuple[int, int], str] = {}
    for _, _, tokens in written:
        for token in tokens:
            place = (token.input, token.sequence)
            found[place] = found.get(place, "") + token.text
    return found


def texts(outcome: Outcome) -> dict[tuple[int, int], str]:
    return {
        (i, s): sequence.generated_text
        for i, sequences in enumerate(outcome.result or [])
        for s, sequence in enumerate(sequences)
    }


def saying(text: str) -> CountingModel:
    """A model that says this after any prompt, byte by byte, and then ends."""
    model, data = CountingModel(), text.encode()
    model.draw = lambda row: data[len(row.tokens)] if len(row.tokens) < len(data) else END
    return model


def test_every_token_is_told_once_with_its_place_and_the_last_says_why() -> None:
    outcomes, entries = run(CountingModel(), [streaming("ab", max_new_tokens=4)])
    written = entries["0"]
    assert [number for _, number, _ in written] == [1, 2, 3, 4]
    tokens = [token for _, _, each in written for token in each]
    assert [token.index for token in tokens] == [0, 1, 2, 3]
    assert [token.id for token in tokens] == [ord(c) for c in "cdef"]
    assert [token.finish_reason for token in tokens] == [None, None, None, "length"]
    assert joined(written) == texts(outcomes["0"])


def test_a_job_that_does_not_stream_tells_nothing() -> None:
    quiet = JobRequest(inputs="a", parameters=Parameters(max_new_tokens=3))
    assert run(CountingModel(), [quiet])[1] == {}


def test_a_character_is_never_split() -> None:
    outcomes, entries = run(saying("Grüße, 世界 🌍!"), [streaming(max_new_tokens=100)])
    tokens = [token for _, _, each in entries["0"] for token in each]
    assert all(UNFINISHED not in token.text for token in tokens)
    assert "".join(token.text for token in tokens) == "Grüße, 世界 🌍!"
    assert texts(outcomes["0"]) == {(0, 0): "Grüße, 世界 🌍!"}
    assert tokens[-1].finish_reason == "eos_token"


def test_a_character_that_the_length_cuts_reads_as_in_the_result() -> None:
    outcomes, entries = run(saying("a🌍"), [streaming(max_new_tokens=3)])
    assert joined(entries["0"]) == texts(outcomes["0"]) == {(0, 0): "a\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize(
    ("said", "stops", "given"),
    [
        ("one STOP two", ("STOP",), "one "),
        ("one STO two", ("STOP",), "one STO two"),
        ("aaab", ("aab",), "a"),
        ("one STO", ("STOP",), "one STO"),
        ("wait…for", ("…",), "wait"),
        ("abcd", ("bcx", "cd"), "ab"),
    ],
)
def test_nothing_of_a_stop_string_shows(said: str, stops: tuple[str, ...], given: str) -> None:
    outcomes, entries = run(saying(said), [streaming(max_new_tokens=100, stop=stops)])
    assert joined(entries["0"]) == texts(outcomes["0"]) == {(0, 0): given}


def test_many_random_texts_are_whole_whatever_stops_them() -> None:
    draw = random.Random(0)
    alphabet = "ab é世🌍"
    model = CountingModel()

    def byte(row: Row) -> int:
        said = said_by[row.prompt.job.key, row.prompt.index, row.sequence]
        return said[len(row.tokens)] if len(row.tokens) < len(said) else END

    said_by: dict[tuple[str, int, int], bytes] = {}
    requests = []
    for key in range(200):
        inputs, sequences = draw.randint(1, 3), draw.randint(1, 3)
        for i in range(inputs):
            for s in range(sequences):
                text = "".join(draw.choice(alphabet) for _ in range(draw.randint(0, 30))).encode()
                cut = bytes(draw.randrange(256) for _ in range(draw.randint(0, 3)))
                said_by[str(key), i, s] = text + cut + text
        stops = tuple(
            "".join(draw.choice(alphabet) for _ in range(draw.randint(2, 4)))
            for _ in range(draw.randint(0, 2))
        )
        asked = {"num_return_sequences": sequences, "stop": stops}
        asked["max_new_tokens"] = draw.randint(1, 60)
        requests.append(streaming(("x",) * inputs, **asked))
    model.draw = byte
    outcomes, entries = run(model, requests)
    for name, outcome in outcomes.items():
        assert joined(entries[name]) == texts(outcome)


def test_log_probabilities_come_with_their_tokens() -> None:
    outcomes, entries = run(CountingModel(), [streaming(max_new_tokens=3, logprobs=0)])
    told = [token.likeliest for _, _, each in entries["0"] for token in each]
    assert told == (outcomes["0"].result or [])[0][0].logprobs


def test_an_entry_says_the_same_after_it_has_been_written() -> None:
    tokens = [Token(0, 1, 2, 3, "…"), Token(1, 0, 0, 9, "", "stop_sequence", "…", {"id": 9})]
    came = decoded(b"4-17", {b"t": encoded(tokens).encode()})
    assert [each.token for each in came] == tokens
    assert [str(each.place) for each in came] == ["4-16", "4-17"]
    assert decoded(b"99-0", {b"end": b"1"}) == []


def test_real_tokens_joined_are_the_decoded_text() -> None:
    tokenizer = HubTokenizer(BUNDLED)
    draw = random.Random(1)
    for _ in range(100):
        ids = [draw.randrange(tokenizer.size) for _ in range(draw.randint(1, 40))]
        text = Text(tokenizer, ())
        given = [text.add(token) for token in ids[:-1]]
        whole = tokenizer.decode(ids)
        assert "".join(given) + text.end(whole) == whole
        assert whole.startswith("".join(given))
