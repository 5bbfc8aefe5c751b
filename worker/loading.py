"""From settings to an engine that is warm."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings

from .engine import Engine
from .names import BUNDLED, ModelUnavailable, ResolvedModel, check_directory, resolve
from .rows import Model, ModelInfo, Tokenizer
from .simulated import SimulatedModel
from .tokens import ByteTokenizer, HubTokenizer

log = logging.getLogger("distilq.engine")

#: Of a checkpoint, what is downloaded: never a pickle, never code.
DOWNLOADED = ["*.json", "*.txt", "*.safetensors"]
RANDOM_SEED = 20240229
#: Masks that older checkpoints of GPT-2 hold beside their weights.
IGNORED_WEIGHTS = re.compile(r"\.attn\.(masked_)?bias$")


def load_engine(settings: Settings) -> Engine:
    """Resolve, load and warm up the model of the settings.

    Raises:
        ModelUnavailable: it cannot be served; the message says why in one line.
    """
    # libgomp keeps the helpers of every thread that has ever computed, and once there are more of
    # them than cores lets none wait actively: then each operation of the engine wakes one, and a
    # step takes half as long again. The helpers of a thread that has ended are gone.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as loader:
        return loader.submit(_warm_engine, settings).result()


def _warm_engine(settings: Settings) -> Engine:
    model, tokenizer = load_model(settings)
    _warm_up(model, tokenizer)
    return Engine(
        model,
        tokenizer,
        max_rows=settings.max_rows,
        max_batch_tokens=settings.max_batch_tokens,
        prefill_budget=settings.prefill_budget,
    )


def load_model(settings: Settings) -> tuple[Model, Tokenizer]:
    """Resolve and load the model of the settings.

    Raises:
        ModelUnavailable: it cannot be loaded; the message says why in one line.
    """
    resolved = resolve(settings.model)
    if resolved.note:
        log.warning("model %s: %s", resolved.name, resolved.note)
    if resolved.kind == "simulated":
        return SimulatedModel(resolved), ByteTokenizer()
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    if resolved.kind == "random":
        return _build(resolved, random_distilgpt2, BUNDLED, settings)
    path = _fetched(resolved) if resolved.kind == "hub" else Path(resolved.source)
    return _build(resolved, lambda: _checkpoint(path), path, settings)


def _fetched(resolved: ResolvedModel) -> Path:
    """The hub's checkpoint in the local cache, downloaded if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            resolved.source, revision=resolved.revision, allow_patterns=DOWNLOADED
        )
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelUnavailable(f"{resolved.source} cannot be downloaded: {reason}") from error
    check_directory(Path(found))
    return Path(found)


def _checkpoint(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it ships none
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # `_require_whole` says it
    try:
        both: Any = AutoModelForCausalLM.from_pretrained(  # a folder; `_fetched` pins # nosec B615
            path,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds
        reason = str(error).strip().split("\n")[0]
        raise ModelUnavailable(f"the model at {path} cannot be loaded: {reason}") from error
    model, found = both
    _require_whole(path, model, found)
    return model


def _require_whole(path: Path, model: Any, found: Mapping[str, Any]) -> None:
    """transformers fills in what is missing at random and leaves out what it does not know."""
    for kind, words in (("missing_keys", "lacks"), ("unexpected_keys", "has, beside its layers,")):
        names = sorted(name for name in found[kind] if not IGNORED_WEIGHTS.search(name))
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelUnavailable(f"the model at {path} {words} the weight {names[0]}{more}")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ModelUnavailable(f"the weight {name} of the model at {path} is not finite")


def random_distilgpt2() -> Any:
    """DistilGPT2's shape; the same random weights in every process."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(RANDOM_SEED)
        return GPT2LMHeadModel(GPT2Config(n_layer=6))


def _build(
    resolved: ResolvedModel, load: Callable[[], Any], tokenizer_at: Path, settings: Settings
) -> tuple[Model, Tokenizer]:
    from . import precision, weights
    from .model import GPT2

    read = weights.read(load())  # no name for the checkpoint: it goes as its weights are packed
    device = precision.device()
    concrete = precision.concrete(settings.precision, device)
    info = ModelInfo(
        name=resolved.name,
        source=resolved.source,
        revision=resolved.revision,
        precision=concrete,
        device=device,
        n_positions=read.shape.n_positions,
        vocab_size=read.shape.vocab_size,
        parameters=read.parameters,
        bundled=resolved.bundled,
        eos_token_ids=read.shape.eos_token_ids,
        bos_token_id=read.shape.bos_token_id,
        reproducible=precision.reproducible(concrete, device),
        note=resolved.note,
    )
    tokenizer = HubTokenizer(tokenizer_at, modulo=resolved.kind == "random")
    if resolved.kind != "random" and tokenizer.size > info.vocab_size:
        raise ModelUnavailable(
            f"the tokenizer has {tokenizer.size} tokens, the model only {info.vocab_size}"
        )
    return GPT2(read, info), tokenizer


def _warm_up(model: Model, tokenizer: Tokenizer) -> None:
    """Run two rows once: first calls plan, allocate and page in what later ones use."""
    engine = Engine(model, tokenizer, max_rows=2, max_batch_tokens=1024, prefill_budget=64)
    asked = Parameters(max_new_tokens=2, num_return_sequences=2, seed=0)
    engine.submit("warm-up", JobRequest(inputs="Once upon a time", parameters=asked))
    while not (finished := engine.step()):
        pass
    if error := finished[0][1].error:
        raise ModelUnavailable(f"the model does not run: {error.get('detail')}")
