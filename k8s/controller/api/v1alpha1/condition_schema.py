"""Conditions of a status, with the fields of metav1.Condition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.fields import Message, Schema, StatusModel, Time


class Condition(StatusModel):
    """One aspect of the object's current state."""

    type: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)] = Field(description="Type of the condition.")
    status: Literal["True", "False", "Unknown"] = Field(description="Status of the condition: True, False or Unknown.")
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=128)] = Field(
        description="Machine-readable reason for the last transition."
    )
    message: Message = Field(default="", description="Human-readable explanation.")
    last_transition_time: Time = Field(description="Time at which the status last changed.")
    observed_generation: int | None = Field(default=None, description="Generation of the spec that the condition refers to.")


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=32, description="Conditions of the object, by type."),
    Schema({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
