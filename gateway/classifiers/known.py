"""Classifiers that one process knows, and the addresses of their predictors. A thread reads the namespace periodically."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from threading import Event, Thread
from typing import TYPE_CHECKING

from gateway.config import GatewayConfig

if TYPE_CHECKING:
    from gateway.classifiers.namespace import Namespace

LOOK_SECONDS = 2.0

logger = logging.getLogger(__name__)


class NamespaceUnreadable(Exception):
    """The API server does not answer, or refuses; the message names the namespace and the reason."""


class Classifiers:
    """Classifiers of the settings and, if a namespace is named, those found there. If both have a name, the settings apply."""

    def __init__(self, config: GatewayConfig) -> None:
        self._given = dict(config.predictors)
        self._default = config.default_classifier
        self._namespace = _namespace(config.discover_namespace) if config.discover_namespace else None
        self._known: dict[str, str] | None = dict(self._given) if self._namespace is None else None
        self._trouble = ""
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="classifiers", daemon=True)

    @property
    def are_complete(self) -> bool:
        """Whether the namespace has been read. Until then, an unknown classifier may exist."""
        return self._known is not None

    @property
    def addresses(self) -> Mapping[str, str]:
        """Addresses of the predictors by classifier. While the namespace cannot be read, the last ones apply."""
        return self._given if self._known is None else self._known

    @property
    def default(self) -> str | None:
        """Classifier of requests that name none; None if there is no default."""
        if self._default is not None:
            return self._default
        if self._given:
            return next(iter(self._given))
        return next(iter(self.addresses)) if len(self.addresses) == 1 else None

    def start(self) -> None:
        """Start a thread that reads the namespace at once, then every LOOK_SECONDS."""
        if self._namespace is not None:
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self, namespace: Namespace) -> None:
        """Read the classifiers of the namespace once."""
        try:
            found = namespace.classifiers() | self._given
        except NamespaceUnreadable as error:
            if str(error) != self._trouble:
                logger.warning("%s", error)
            self._trouble = str(error)
            return
        if found != self._known:
            logger.info("classifiers: %s", ", ".join(sorted(found)) or "none")
        self._known, self._trouble = found, ""

    def _run(self) -> None:
        while self._namespace is not None:
            try:
                self.look(self._namespace)
            except Exception:
                logger.exception("the classifiers cannot be read, so the previous ones apply")
            if self._stopped.wait(LOOK_SECONDS):
                return


def _namespace(name: str) -> Namespace:
    from gateway.classifiers.namespace import Namespace  # the Kubernetes client is large, and only used with a namespace

    return Namespace(name)
