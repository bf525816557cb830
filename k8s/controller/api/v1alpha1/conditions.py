"""A condition, as Kubernetes' own resources have them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.fields import Message, Schema, Status, Time


class Condition(Status):
    """Whether something is true of an object, since when, and why."""

    type: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)] = Field(description="What is true or not.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is.")
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=128)] = Field(description="Why, for programs.")
    message: Message = Field(default="", description="Why, for people.")
    last_transition_time: Time = Field(description="Since when.")
    observed_generation: int | None = Field(default=None, description="The generation of the spec that this is about.")


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=32, description="What is true of it, and why."),
    Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
