"""GPT-2's weights, read by transformers, in the names and layout that the forward pass uses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .names import ModelUnavailable

ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu")


@dataclass(frozen=True)
class Shape:
    layers: int
    heads: int
    width: int
    n_positions: int
    vocab_size: int
    epsilon: float
    activation: str
    eos_token_ids: frozenset[int]
    bos_token_id: int | None

    @property
    def head_width(self) -> int:
        return self.width // self.heads


Pair = tuple[Tensor, Tensor]
"""Weight as (outputs, inputs), and bias."""


@dataclass(frozen=True)
class LayerWeights:
    norm1: Pair
    attention_in: Pair
    attention_out: Pair
    norm2: Pair
    mlp_in: Pair
    mlp_out: Pair


@dataclass(frozen=True)
class Weights:
    shape: Shape
    tokens: Tensor
    positions: Tensor
    #: To be gone through once: each layer's matrices are copied as it is reached, and let go of.
    layers: Iterator[LayerWeights]
    norm: Pair
    head: Tensor
    parameters: int


def read(model: Any) -> Weights:
    """The weights of a `GPT2LMHeadModel`, in float32, attention scaled beforehand.

    Raises:
        ModelUnavailable: it uses something that this forward pass does not have.
    """
    config: Any = model.config
    shape = _shape(config, model.generation_config)
    state = {name: value.detach().float() for name, value in model.state_dict().items()}
    scale = 1 / math.sqrt(shape.head_width) if config.scale_attn_weights else 1.0
    return Weights(
        shape=shape,
        tokens=state["transformer.wte.weight"],
        positions=state["transformer.wpe.weight"],
        layers=(_layer(state, f"transformer.h.{n}.", scale, shape) for n in range(shape.layers)),
        norm=_norm(state, "transformer.ln_f."),
        head=state["lm_head.weight"],
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _shape(config: object, generation: object) -> Shape:
    named = vars(config)
    for flag in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if named.get(flag):
            raise ModelUnavailable(f"the model sets {flag}, which is not supported")
    if named["activation_function"] not in ACTIVATIONS:
        activation = named["activation_function"]
        raise ModelUnavailable(f"the model's activation {activation} is not supported")
    ends = _token_ids("eos_token_id", named, vars(generation))
    starts = _token_ids("bos_token_id", named, vars(generation))
    return Shape(
        layers=named["n_layer"],
        heads=named["n_head"],
        width=named["n_embd"],
        n_positions=named["n_positions"],
        vocab_size=named["vocab_size"],
        epsilon=named["layer_norm_epsilon"],
        activation=named["activation_function"],
        eos_token_ids=frozenset(ends),
        bos_token_id=next(iter([*starts, *ends]), None),
    )


def _token_ids(name: str, config: Mapping[str, Any], generation: Mapping[str, Any]) -> list[int]:
    """One token, several or none; what generation_config.json says goes before config.json.

    Ids outside the vocabulary are left out: GPT2Config's default is one, of any smaller vocabulary.
    """
    found = generation.get(name)
    if found is None:
        found = config.get(name)
    ids = found if isinstance(found, list) else [found]
    return [token for token in ids if token is not None and 0 <= token < config["vocab_size"]]


def _layer(state: dict[str, Tensor], at: str, scale: float, shape: Shape) -> LayerWeights:
    weight, bias = _transposed(state, at + "attn.c_attn.")
    # The queries carry the scale, so that no step has to multiply the scores.
    query = slice(0, shape.width)
    weight[query] *= scale
    bias[query] *= scale
    return LayerWeights(
        norm1=_norm(state, at + "ln_1."),
        attention_in=(weight, bias),
        attention_out=_transposed(state, at + "attn.c_proj."),
        norm2=_norm(state, at + "ln_2."),
        mlp_in=_transposed(state, at + "mlp.c_fc."),
        mlp_out=_transposed(state, at + "mlp.c_proj."),
    )


def _transposed(state: dict[str, Tensor], at: str) -> Pair:
    """GPT-2 stores its matrices as (inputs, outputs)."""
    return state.pop(at + "weight").t().clone(), state.pop(at + "bias").clone()


def _norm(state: Mapping[str, Tensor], at: str) -> Pair:
    return state[at + "weight"], state[at + "bias"]
