"""Installed packages are the locked ones: every file is checked by its hash, from any index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
RECIPES = [ROOT / "Dockerfile.serve", ROOT / "Dockerfile.train", ROOT / "Makefile"]

every_lock = pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)


@every_lock
def test_every_package_of_a_lock_has_hashes(lock: Path) -> None:
    packages = re.split(r"\n(?=[\w])", lock.read_text().strip())

    assert [each.split("\n")[0] for each in packages if not re.match(r"[\w.\[\],-]+==\S", each)] == []
    assert [each.split("\n")[0] for each in packages if "--hash=sha256:" not in each] == []


@every_lock
def test_a_lock_names_no_place_that_packages_come_from(lock: Path) -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", lock.read_text())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_nothing_is_installed_without_hashes(recipe: Path) -> None:
    commands = re.sub(r"\\\n", " ", recipe.read_text()).split("\n")
    installs = [each for each in commands if re.search(r"\b(pip( --python \S+)?|uv pip) (install|sync)\b", each)]
    # Our own code comes without what it needs, and is built by what is there already.
    ours = [each for each in installs if "--no-deps" in each and "--no-build-isolation" in each]

    assert len(installs) > len(ours) > 0
    assert [each for each in installs if each not in ours and "--require-hashes" not in each] == []


def test_a_base_image_can_be_named_by_its_digest() -> None:
    for recipe in RECIPES[:2]:
        froms = re.findall(r"^FROM (\S+)", recipe.read_text(), re.MULTILINE)
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", recipe.read_text(), re.MULTILINE))
        assert set(froms) - stages == {"${PYTHON_IMAGE}"}
