"""The architectures that can be fitted. A new one is a folder beside these, its name in `ArchitectureName` and a line here."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from trainer.architectures.base import Architecture
from trainer.architectures.linear import LINEAR
from trainer.architectures.transformer import TRANSFORMER
from trainer.config.settings import Config
from trainer.errors import ConfigRejected
from trainer.run.processes import Processes

# Fitted in every run, since every other architecture is measured against it.
BASELINE: Architecture = LINEAR
# In the order of fitting: an interrupted run resumes the first ones, and the other ranks wait for them.
REGISTRY: tuple[Architecture, ...] = (TRANSFORMER, LINEAR)


def wanted(config: Config) -> list[Architecture]:
    """Return the architectures to fit, in order: those that the configuration asks for, and the baseline."""
    choice = config.training.architecture
    return [each for each in REGISTRY if each is BASELINE or (choice in ("auto", each.name) and each.is_configured(config))]


def process_group(config: Config, processes: Processes) -> AbstractContextManager[None]:
    """Return the context in which the ranks of a training work together: from when all have joined until rank 0 is done.

    Raises ConfigRejected if there are several and no version is named.
    """
    if processes.world_size > 1 and config.version is None:
        raise ConfigRejected(f"version is not set: the {processes.world_size} processes have to agree on one")
    if processes.world_size == 1 or not any(each.distributed for each in wanted(config)):
        return nullcontext()
    from trainer.architectures import distributed  # torch takes seconds to import

    return distributed.process_group()
