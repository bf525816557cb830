"""Base classes, rules and common value types of the resources.

Each type is also a schema that the API server enforces (`k8s.controller.api.crds`), so both refuse the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from k8s.controller.api import durations
from model.fields import Name

RULES = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """Condition on several fields: in CEL for the API server, and as a function for the controller."""

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None  # None: a rule about a change, which only the API server can check
    path: str = ""  # the field to blame, below the object that has the rule

    def document(self) -> dict[str, str]:
        """Return the rule as an entry of a CRD."""
        where = {"fieldPath": f".{self.path}"} if self.path else {}
        return {"rule": self.cel, "message": self.message, **where}


@dataclass(frozen=True, eq=False)  # equal only to itself: a dict has no hash
class Schema:
    """Annotation that adds entries to a type's schema in the CRD."""

    extra: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), **self.extra}


class Resource(BaseModel):
    """Base of all types: frozen, camelCase in documents and snake_case in Python."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False)

    def document(self) -> dict[str, Any]:
        """Return the resource as the API has it, without fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecModel(Resource):
    """Base of types that users write. Unknown fields and broken rules are refused."""

    model_config = ConfigDict(extra="forbid")
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise PydanticCustomError("rule", "{message}", {"message": rule.message, "path": rule.path})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        if cls.rules:
            handler.resolve_ref_schema(schema)[RULES] = [rule.document() for rule in cls.rules]
        return schema


class StatusModel(Resource):
    """Base of types that the controller writes. Unknown fields are ignored, since a later release may have written them."""

    model_config = ConfigDict(extra="ignore")


def _more_than_nothing(text: str) -> str:
    if durations.parse_duration(text) == 0:
        raise ValueError("expected a duration of more than 0s, such as 90s, 15m or 1h30m")
    return text


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _to_the_second(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Addresses become arguments and variables of containers, in which the node expands $: no address may contain it.
Uri = Annotated[str, Field(pattern=r"^(s3|hf|kaggle)://[^$\n]+$", max_length=2048)]
Folder = Annotated[str, Field(pattern=r"^s3://[^$\n]+$", max_length=2048)]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^$\n]+$", max_length=2048)]
Address = Annotated[str, Field(pattern=r"^[^$]+$", max_length=1024)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Message = Annotated[str, Field(max_length=32768)]
Column = Annotated[str, Field(min_length=1, max_length=256)]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
VersionName = Annotated[Name, Field(max_length=63)]
Duration = Annotated[
    str,
    Field(pattern=durations.PATTERN, max_length=durations.MAX_CHARACTERS),
    AfterValidator(_more_than_nothing),
    Schema({RULES: [{"rule": "duration(self) > duration('0s')", "message": "expected more than 0s"}]}),
]
# Kubernetes' pattern and type of a quantity, without the sign: 2, "2", "500m", "4Gi".
Quantity = Annotated[
    str,
    Field(
        pattern=r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
        max_length=64,
    ),
    BeforeValidator(_as_text),
    Schema({"type": None, "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "minimum": 0}),
]
LabelValue = Annotated[str, Field(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)]
Time = Annotated[AwareDatetime, PlainSerializer(_to_the_second, return_type=str, when_used="json")]
