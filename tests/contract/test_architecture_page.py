"""docs/architecture.md and the other documents name files, folders, modules and definitions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from charts.documentation import CHART, described

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "benchmarks|charts|docs|gateway|k8s|labelwright|model|requirements|tests|trainer"
# Values of the chart, which look like modules: `gateway.enabled`.
VALUES = {each.name for each in described((CHART / "values.yaml").read_text())}
ROWS = [
    (file, name)
    for _, file, names in re.findall(r"^\| (.*?) \| `([\w./-]+)` \| (`.*`) \|$", ARCHITECTURE, re.MULTILINE)
    for name in re.findall(r"`([\w.]+)`", names)
]


def test_the_tables_are_long_enough_to_be_of_use() -> None:
    changes = ARCHITECTURE.split("## If you want to change")[1].split("\n## ")[0]
    assert len(re.findall(r"^\| (?!change|---)", changes, re.MULTILINE)) >= 26
    assert len(re.findall(r"^\| \d+ \| `", ARCHITECTURE, re.MULTILINE)) == 10


@pytest.mark.parametrize(("file", "name"), ROWS, ids=[f"{file}-{name}" for file, name in ROWS])
def test_a_name_in_the_tables_is_defined_in_its_file(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file()
    names = definitions(ast.parse(path.read_text())) if path.suffix == ".py" else re.findall(r"[\w.]+", path.read_text())
    assert name in set(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_paths_and_modules_in_documents_exist(page: Path) -> None:
    quoted = re.findall(r"`([^`\n]+)`", page.read_text())
    paths = [each for each in quoted if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]*", each) and not re.search("[A-Z]{4}", each)]
    modules = [each for each in quoted if re.fullmatch(r"(?:trainer|gateway|k8s|model\.serving)(?:\.[a-z_]\w*)+", each)]
    assert [each for each in paths if not (ROOT / each).exists()] == []
    assert [each for each in modules if each not in VALUES and not is_module(each)] == []


def definitions(module: ast.Module) -> set[str]:
    """Names of functions, classes and constants of a module; those within a class as Class.name."""
    names = set()
    for node, within in [(node, "") for node in module.body] + [
        (node, f"{each.name}.") for each in module.body if isinstance(each, ast.ClassDef) for node in each.body
    ]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(f"{within}{node.name}")
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        names |= {f"{within}{each.id}" for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return names


def is_module(name: str) -> bool:
    """Whether the dotted name is a package, a module, or a name defined in a module."""
    path, _, last = str(ROOT / name.replace(".", "/")).rpartition("/")
    if Path(f"{path}/{last}").is_dir() or Path(f"{path}/{last}.py").is_file():
        return True
    return Path(f"{path}.py").is_file() and last in definitions(ast.parse(Path(f"{path}.py").read_text()))
