"""Text to token ids and back, and where a text must stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .names import ModelUnavailable


class HubTokenizer:
    """A tokenizer of transformers, without its prettifying of the decoded text."""

    def __init__(self, path: Path, *, modulo: bool = False) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(  # a folder # nosec B615
                path, trust_remote_code=False
            )
        except Exception as error:  # transformers and tokenizers each raise their own kinds
            reason = str(error).strip().split("\n")[0]
            raise ModelUnavailable(f"the tokenizer at {path} cannot be loaded: {reason}") from error
        self.size = len(self._tokenizer)
        # That of tokenizers, which transformers calls as well: a fifth of the time per token.
        self._decode = self._tokenizer.backend_tokenizer.decode
        #: Ids past the vocabulary are shown modulo its size, for models with random weights.
        self._modulo = modulo

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, verbose=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the tokens, without special ones.

        A character that the tokens leave unfinished reads as U+FFFD, as transformers has it.
        """
        known = [token % self.size for token in ids] if self._modulo else list(ids)
        text: str = self._decode(known, skip_special_tokens=True)
        return text


class ByteTokenizer:
    """UTF-8 bytes as tokens, for models without a vocabulary of their own."""

    END = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token < self.END).decode(errors="replace")


def tail_tokens(stops: Sequence[str]) -> int:
    """How many of the last tokens can hold a stop string that has just become complete.

    Every token is a byte at least, and one more may begin amid a character.
    """
    return max(len(stop.encode()) for stop in stops) + 3


def find_stop(text: str, stops: Sequence[str]) -> tuple[int, str] | None:
    """Where the first stop string begins, and which it is; of two at one place the longer."""
    found = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    if not found:
        return None
    place, _, stop = min(found)
    return place, stop
