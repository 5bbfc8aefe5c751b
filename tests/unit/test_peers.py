"""Peers of the benchmarks: processes that answer over a pipe, or say why they cannot."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.peers.process import Peer, PeerFailed

FAKE = Path(__file__).with_name("fake_peer.py")
ROOT = Path(__file__).parents[2]
PROMPTS = [[1, 2], [3, 4]]


@contextmanager
def fake(behaviour: str) -> Iterator[Peer]:
    peer = Peer([sys.executable, str(FAKE), behaviour], {"PYTHONPATH": str(ROOT)}, start_s=60)
    try:
        yield peer
    finally:
        peer.close()


def state_of(peer: Peer) -> str:
    """T: stopped by a signal."""
    stat = Path(f"/proc/{peer.about['pid']}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_a_peer_says_what_it_is_and_answers_time_after_time() -> None:
    with fake("well") as peer:
        assert peer.about["fake"] == "1.0"
        for new_tokens in (3, 30):
            answer = peer.ask(PROMPTS, new_tokens)
            assert answer.tokens == 2 * new_tokens
            assert answer.seconds > 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_a_peer_is_stopped_between_its_turns() -> None:
    with fake("well") as peer:
        assert state_of(peer) == "T"
        peer.ask(PROMPTS, 3)
        assert state_of(peer) == "T"
        stat = Path(f"/proc/{peer.about['pid']}/stat")
    assert not stat.exists()


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("raises", "ValueError: no such token"),
        ("short", "5 tokens came where 6 were asked for"),
        ("dies", "ended with status 3|more of it"),
        ("hangs", "no answer within 0.2 s"),
    ],
)
def test_a_peer_that_does_not_do_as_asked_has_failed(behaviour: str, said: str) -> None:
    with fake(behaviour) as peer, pytest.raises(PeerFailed, match=said):
        peer.ask(PROMPTS, 3, within=0.2 if behaviour == "hangs" else 60)


def test_a_peer_that_is_not_installed_says_so() -> None:
    with pytest.raises(PeerFailed, match="no module named peer"), fake("absent"):
        pass


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-full.txt"])
def test_every_peer_is_pinned_exactly_and_has_its_reason(name: str) -> None:
    lines = (ROOT / "benchmarks/peers" / name).read_text().splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert named
    for line in named:
        pin, reason = line.split("#")
        assert re.fullmatch(r"==[0-9][0-9.]*", str(Requirement(pin.strip()).specifier)), line
        assert reason.strip(), line
