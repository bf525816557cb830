"""Compile a function of numbers and arrays to machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile the function at its first call, for the types of its arguments. It runs without the interpreter lock.

    The machine code is cached on disk for the next process if a cache folder can be written.
    """
    compile_function: Any = numba.njit
    settings: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        made: Function = compile_function(cache=True, **settings)(function)
    except RuntimeError:  # numba finds no folder for its cache: a read-only file system
        made = compile_function(**settings)(function)
    return made
