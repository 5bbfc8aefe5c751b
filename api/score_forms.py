"""The forms of POST /score: the contracts that have been published for the model, told by shape.

Azure's card has had three, and each has an answer of its own. The requests with `input_data` are of
the older cards and of the model's MLflow file, whose defaults they get.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, RootModel, Tag, model_validator
from typing_extensions import Self

from distilq.jobs import MAX_INPUTS, MAX_ROWS, Job, Prompt, ScoreRequest
from distilq.parameters import Parameters, Wire, conflict

from .schemas import Texts

#: Where the model's MLflow file has other defaults than we have.
MLFLOW_DEFAULTS = {"temperature": 0.8}


class InputData(Wire):
    """`input_data` as the older card has it."""

    input_string: tuple[Prompt, ...] = Field(min_length=1, max_length=MAX_INPUTS)
    parameters: Parameters | None = Field(None, description="here, or beside input_data")


def _data_form(value: Any) -> str:
    return "strings" if isinstance(value, (dict, InputData)) else "texts"


class InputDataRequest(Wire):
    """A request of the older card, or of the MLflow file. Parameters may stand in one place."""

    input_data: Annotated[
        Annotated[InputData, Tag("strings")]
        | Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("texts")],
        Discriminator(_data_form),
    ] = Field(description='texts, or {"input_string": texts}')
    params: Parameters | None = None
    parameters: Parameters | None = Field(None, description="another name of params")

    @model_validator(mode="after")
    def _can_be_scored(self) -> Self:
        if len(self._given) > 1:
            raise conflict("parameters", "parameters are given twice; they may stand in one place")
        rows = len(self.texts) * self._parameters.sequences_drawn
        if rows > MAX_ROWS:
            raise conflict("input_data", f"inputs times sequences is {rows}, at most {MAX_ROWS}")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        data = self.input_data
        return data.input_string if isinstance(data, InputData) else data

    @property
    def asked(self) -> ScoreRequest:
        """The same as a request of the present card."""
        given = self._parameters
        defaults = {k: v for k, v in MLFLOW_DEFAULTS.items() if k not in given.model_fields_set}
        return ScoreRequest(inputs=self.texts, parameters=given.model_copy(update=defaults))

    @property
    def _parameters(self) -> Parameters:
        return self._given[0] if self._given else Parameters()

    @property
    def _given(self) -> list[Parameters]:
        data = self.input_data
        inside = data.parameters if isinstance(data, InputData) else None
        return [each for each in (self.params, self.parameters, inside) if each is not None]


def _form(value: Any) -> str | None:
    if isinstance(value, InputDataRequest):
        return "of_input_data"
    if not isinstance(value, dict) or "input_data" not in value:
        return "of_inputs"
    return None if "inputs" in value else "of_input_data"


class ScoreBody(
    RootModel[
        Annotated[
            Annotated[ScoreRequest, Tag("of_inputs")]
            | Annotated[InputDataRequest, Tag("of_input_data")],
            Discriminator(
                _form,
                custom_error_type="conflict",
                custom_error_message="inputs and input_data are of two forms; send one of them",
                custom_error_context={"field": "inputs"},
            ),
        ]
    ]
):
    """A request in any of the forms."""

    @property
    def asked(self) -> ScoreRequest:
        return self.root if isinstance(self.root, ScoreRequest) else self.root.asked

    def answer(self, job: Job) -> BaseModel:
        """The texts of a job that has succeeded, in the form that belongs to the request's."""
        texts = [[each.generated_text for each in sequences] for sequences in job.result or []]
        if isinstance(self.root, ScoreRequest):
            return Texts.of(job)
        if isinstance(self.root.input_data, InputData):
            return TextRecords([{str(n): text for n, text in enumerate(row)} for row in texts])
        return FlatTexts([text for row in texts for text in row])


class TextRecords(RootModel[list[dict[str, str]]]):
    """Per input its texts by their number: `[{"0": "..."}]`."""


class FlatTexts(RootModel[list[str]]):
    """The texts, those of the first input first."""


class ScoreAnswer(RootModel[Texts | TextRecords | FlatTexts]):
    """Per form of request another."""
