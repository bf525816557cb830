"""The images of controller and gateway hold what their program imports, and not what it has no use for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile.serve").read_text()

every_image = pytest.mark.parametrize(("image", "package"), [("controller", "k8s"), ("gateway", "gateway")])


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {each.module for each in nodes if isinstance(each, ast.ImportFrom) and each.module}
    return names | {alias.name for each in nodes if isinstance(each, ast.Import) for alias in each.names}


def _of_model(paths: set[Path]) -> set[Path]:
    names = {name for path in paths for name in _imported(path) if name.startswith("model.")}
    places = (ROOT / name.replace(".", "/") for name in names)
    return {place / "__init__.py" if place.is_dir() else place.with_suffix(".py") for place in places}


def _stage(name: str) -> str:
    """Return the lines of the Dockerfile that build this stage."""
    return re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)[
        [None, *re.findall(r"^FROM .* AS (.*)$", DOCKERFILE, re.MULTILINE)].index(name)
    ]


@every_image
def test_the_image_holds_every_module_of_model_that_its_program_imports(image: str, package: str) -> None:
    needed = _of_model(set((ROOT / package).rglob("*.py")))
    while more := _of_model(needed) - needed:
        needed |= more
    copied = re.findall(r"^COPY (.*) /src/model/(?:\w+/)?$", _stage(f"{image}-code"), re.MULTILINE)

    assert {ROOT / each for line in copied for each in line.split()} == needed | {ROOT / "model" / "__init__.py"}


@every_image
def test_what_is_taken_out_of_the_image_is_imported_by_nothing_in_it(image: str, package: str) -> None:
    (removed,) = re.findall(r"uninstall .*--disable-pip-version-check (.*) \\$", _stage(f"{image}-dependencies"), re.MULTILINE)
    sources = {*(ROOT / package).rglob("*.py"), *_of_model(set((ROOT / package).rglob("*.py")))}

    assert {name.partition(".")[0] for path in sources for name in _imported(path)}.isdisjoint(removed.split())


@every_image
def test_the_image_can_be_built_from_what_reaches_the_builder(image: str, package: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    copied = {f"!{each}" for each in re.findall(r"^COPY (requirements/\S+) ", DOCKERFILE, re.MULTILINE)}
    assert {f"!{package}", "!model", f"!requirements/{image}.txt"} | copied <= set(ignored)
