"""Where the tokens of a text begin in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from distilq.jobs import TokenLogprob

#: How a token reads alone that is a part of a character only.
UNFINISHED = "\N{REPLACEMENT CHARACTER}"

#: How prompts spell GPT-2's only special token, whose text is otherwise empty.
SPECIAL = "<|endoftext|>"

Placed = tuple[int, TokenLogprob]


class Offsets:
    """Places tokens in their text, both of which may come piece by piece.

    What is found does not depend on the pieces. A token that begins amid a character, or is but
    a part of one, is placed between its neighbours, as exactly as they leave it.
    """

    def __init__(self) -> None:
        self._text = ""
        #: Where the first of the open tokens begins, or else the next token.
        self._at = 0
        #: Parts of characters; where they end shows the next token that is none.
        self._open: list[TokenLogprob] = []
        self._waiting: deque[TokenLogprob] = deque()

    def add(self, tokens: Iterable[TokenLogprob], text: str, *, last: bool = False) -> list[Placed]:
        """The tokens that can be placed now, in their order; all, when these were the last."""
        self._waiting += tokens
        self._text += text
        placed: list[Placed] = []
        while self._waiting:
            token = self._waiting[0]
            at = self._find(token.text, last)
            if at is None and not last and self._may_come(token.text):
                break
            self._waiting.popleft()
            if at is None:
                self._open.append(token)
            else:
                placed += [*self._close(at), (at, token)]
                self._at = at + self._length(token.text, at)
        return [*placed, *self._close(len(self._text))] if last else placed

    @property
    def _reach(self) -> int:
        """Where the open tokens end at the latest: joined they read no longer than alone."""
        return self._at + sum(len(token.text) or len(SPECIAL) for token in self._open)

    def _find(self, token: str, last: bool) -> int | None:
        if UNFINISHED in token or (self._open and not token):
            return None
        if not self._open:
            rest = self._text[self._at : self._at + len(token)]
            if rest == token or (last and token.startswith(rest)):  # cut by a stop string
                return self._at
        at = self._text.find(token, self._at + bool(self._open), self._reach + len(token))
        return None if at < 0 else at

    def _may_come(self, token: str) -> bool:
        return UNFINISHED not in token and len(self._text) < self._reach + len(token)

    def _length(self, token: str, at: int) -> int:
        if not token and self._text.startswith(SPECIAL, at):
            return len(SPECIAL)
        return len(token)

    def _close(self, end: int) -> list[Placed]:
        """The open tokens, spread evenly over the characters that they make."""
        size, tokens = max(end - self._at, 0), self._open
        self._open = []
        return [
            (self._at + number * size // len(tokens), token) for number, token in enumerate(tokens)
        ]
