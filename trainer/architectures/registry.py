"""Registry of the architectures. A new one needs a folder here, its name in `ArchitectureName`, and a line in `REGISTRY`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from trainer.architectures.base import Architecture
from trainer.architectures.linear import LINEAR
from trainer.architectures.transformer import TRANSFORMER
from trainer.config.settings import Config
from trainer.errors import ConfigRejected
from trainer.run.processes import Processes

# Fitted in every run: other architectures are compared with it.
BASELINE: Architecture = LINEAR
# In the order of fitting. The transformer comes first: a resumed run continues with it at once, and no rank has to wait.
REGISTRY: tuple[Architecture, ...] = (TRANSFORMER, LINEAR)


def architectures_to_fit(config: Config) -> list[Architecture]:
    """Return the architectures to fit, in order: the configured ones and the baseline."""
    choice = config.training.architecture
    return [each for each in REGISTRY if each is BASELINE or (choice in ("auto", each.name) and each.is_configured(config))]


def process_group(config: Config, processes: Processes) -> AbstractContextManager[None]:
    """Return a context in which the ranks of a training are connected, until rank 0 is done.

    Raises ConfigRejected if there are several ranks and no version is named.
    """
    if processes.world_size > 1 and config.version is None:
        raise ConfigRejected(f"version is not set: the {processes.world_size} processes have to agree on one")
    if processes.world_size == 1 or not any(each.distributed for each in architectures_to_fit(config)):
        return nullcontext()
    from trainer.architectures import distributed  # torch takes seconds to import

    return distributed.process_group()
