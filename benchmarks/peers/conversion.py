"""DistilGPT2's shape with random weights, in every peer's own format; kept in build/peers.

Conversion needs the peer beside torch and transformers. CTranslate2's runs in distilq's environment
with the peers' packages at the end of its path; OpenVINO's in the environment of the full mode.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .process import ROOT, PeerFailed

BUILD = ROOT / "build" / "peers"
PEERS = ROOT / ".venv-peers"
FULL = ROOT / ".venv-peers-full"
END = "<|endoftext|>"

_CTRANSLATE2 = """
import sys
checkpoint, target, quantization, peers = sys.argv[1:]
sys.path.append(peers)
from ctranslate2.converters import TransformersConverter
TransformersConverter(checkpoint).convert(target, quantization=quantization, force=True)
"""

_OPENVINO = """
import sys
import openvino
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForCausalLM
from transformers import AutoTokenizer
checkpoint, target = sys.argv[1:]
model = OVModelForCausalLM.from_pretrained(
    checkpoint, export=True, load_in_8bit=False, compile=False
)
model.save_pretrained(target)
pair = convert_tokenizer(AutoTokenizer.from_pretrained(checkpoint), with_detokenizer=True)
for converted, name in zip(pair, ("tokenizer", "detokenizer")):
    openvino.save_model(converted, f"{target}/openvino_{name}.xml")
"""


def checkpoint() -> Path:
    """The model as a folder that transformers reads."""
    path = BUILD / "checkpoint"
    if not path.exists():
        making = _making(path)
        _save(making)
        making.rename(path)
    return path


def for_ctranslate2(quantization: str) -> Path:
    (packages,) = PEERS.glob("lib/python*/site-packages") if PEERS.exists() else [None]
    if packages is None:
        raise PeerFailed("not installed: make peers")
    arguments = [quantization, str(packages)]
    return _converted(
        f"ctranslate2-{quantization}", [sys.executable, "-c", _CTRANSLATE2], arguments
    )


def for_openvino() -> Path:
    return _converted("openvino", [str(FULL / "bin/python"), "-c", _OPENVINO], [])


def _converted(name: str, command: list[str], arguments: list[str]) -> Path:
    """The folder of a format; made under another name first, so that half a one is never used."""
    path = BUILD / name
    if path.exists():
        return path
    if not Path(command[0]).exists():
        raise PeerFailed("not installed: make peers-full")
    making = _making(path)
    done = subprocess.run(
        [*command, str(checkpoint()), str(making), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise PeerFailed(f"cannot be converted: {done.stderr.strip().splitlines()[-1]}")
    making.rename(path)
    return path


def _making(path: Path) -> Path:
    making = path.with_name(f"{path.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    return making


def _save(path: Path) -> None:
    """With a tokenizer of one word per token, since some peers take prompts as words only."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from worker.loading import random_distilgpt2

    model = random_distilgpt2()
    end = model.config.vocab_size - 1
    words = {f"t{token}": token for token in range(end)} | {END: end}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END)
    model.save_pretrained(path)
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, **ends).save_pretrained(path)
