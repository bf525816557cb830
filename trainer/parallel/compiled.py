"""Compile a function of numbers and arrays to machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function, compiled at its first call for the types it is called with; it holds no interpreter lock.

    The machine code is kept on disk for the next process where a place for it can be written, and made anew elsewhere.
    """
    compile_function: Any = numba.njit
    settings: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        made: Function = compile_function(cache=True, **settings)(function)
    except RuntimeError:  # numba finds no folder for its cache: a read-only file system
        made = compile_function(**settings)(function)
    return made
