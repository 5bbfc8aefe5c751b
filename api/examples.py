"""A request of every kind, as the OpenAPI document and the reference show it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from distilq.jobs import BatchRequest, JobRequest, StatusRequest

from . import schemas
from .openai import file_schemas as files
from .openai import schemas as openai
from .score_forms import ScoreBody
from .tgi import schemas as tgi

PROMPT = "Once upon a time,"

EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    JobRequest: {
        "inputs": PROMPT,
        "parameters": {"max_new_tokens": 40, "temperature": 0.8, "seed": 7},
        "priority": "interactive",
    },
    BatchRequest: {"jobs": [{"inputs": "The sea"}, {"inputs": ["A dog", "A cat"]}]},
    StatusRequest: {"ids": ["0123456789abcdef0123456789abcdef"]},
    ScoreBody: {
        "inputs": {"input_string": ["My name is John and I am", PROMPT]},
        "parameters": {"min_length": 20, "max_length": 30, "num_return_sequences": 2},
    },
    openai.CompletionRequest: {"model": "distilgpt2", "prompt": PROMPT, "max_tokens": 30},
    tgi.GenerateRequest: {"inputs": PROMPT, "parameters": {"max_new_tokens": 20, "seed": 7}},
    files.UploadForm: {"purpose": "batch", "file": "@requests.jsonl"},
    files.CreateBatchRequest: {
        "input_file_id": "file-0123456789abcdef0123456789abcdef",
        "endpoint": "/v1/completions",
        "completion_window": "24h",
    },
    schemas.PriorityRequest: {"priority": "bulk"},
}
