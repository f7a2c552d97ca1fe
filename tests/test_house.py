"""The house holds: import order, packaging against folders, module names, README's commands."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("unitok", "tokenizers", "train", "eval", "serve", "configs")
MAY_IMPORT = {
    "unitok": {"unitok"},
    "tokenizers": {"unitok", "tokenizers"},
    "train": {"unitok", "tokenizers", "train"},
    "eval": {"unitok", "tokenizers", "eval"},
    "serve": {"unitok", "tokenizers", "eval", "serve"},
    "configs": set(ROOMS),
}
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def room_of_module(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "unitok":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS[1:] else "unitok"


def imported_modules(path: Path) -> list[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for module in imported_modules(path):
        target = room_of_module(module)
        assert target is None or target in MAY_IMPORT[room], (
            f"{path}: {room} may not import {module}"
        )
        assert module.split(".")[0] not in ("tests", "benchmarks", "tokenizers", "train", "eval"), (
            f"{path}: import {module} in full, as unitok.{module}"
        )


def test_one_room_each_for_orbax_and_grain() -> None:
    for library, home in (("orbax", "unitok/checkpoint.py"), ("grain", "unitok/data/mixture.py")):
        users = {
            str(path.relative_to(ROOT))
            for path in SOURCES
            if any(m.split(".")[0] == library for m in imported_modules(path))
        }
        assert users == {home}, f"{library} is imported by {users}; only {home} may"


def test_packages_listed_are_the_folders() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    folders = set()
    for path in SOURCES:
        parent = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        folders.add(parent if parent.split(".")[0] == "unitok" else f"unitok.{parent}")
    assert set(setuptools["packages"]) == folders
    for package in setuptools["packages"]:
        room = package.removeprefix("unitok.").split(".")[0]
        if room in ROOMS[1:]:
            assert room in setuptools["package-dir"].values()


@pytest.mark.parametrize("room", ["train", "eval"])
def test_no_script_folder_shadows_a_module(room: str) -> None:
    """`python train/main.py` puts train/ first on the path: its names must hide nothing importable."""
    third_party = {
        re.split(r"[\[>=<~ ;]", line)[0].replace("-", "_")
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    }
    for path in (ROOT / room).glob("*.py"):
        assert path.stem not in sys.stdlib_module_names | third_party, f"{path} shadows a module"


def test_entry_points_load() -> None:
    found = 0
    for group in ("unitok.tokenizers", "unitok.commands", "unitok.programs"):
        for entry in entry_points(group=group):
            if entry.value.startswith("unitok"):
                assert callable(entry.load()), entry
                found += 1
    assert found >= 8


def test_readme_names_files_and_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", readme, re.S)
    commands = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    checked = 0
    for command in commands:
        if match := re.match(r"make ([a-z-]+)", command):
            assert match[1] in targets, f"README: {command!r}: no such target"
            checked += 1
        for file in re.findall(
            r"(?:^|[ =])((?:configs|train|eval|benchmarks)/[\w/]+\.py)", command
        ):
            assert (ROOT / file).is_file(), f"README: {command!r}: no file {file}"
            checked += 1
        if match := re.match(r"unitok (\w+)", command):
            names = {entry.name for entry in entry_points(group="unitok.commands")}
            assert match[1] in names, f"README: {command!r}: no such command"
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize(("target", "second"), [("bench", "b"), ("roundtrip", "b_tokenizer")])
def test_make_runs_every_benchmark_and_names_those_that_failed(
    target: str, second: str, tmp_path: Path
) -> None:
    make = shutil.which("make") or pytest.skip("make is not installed")
    (tmp_path / "benchmarks").mkdir()
    files = [f"benchmarks/{name}.py" for name in ("a_tokenizer", second, "c_tokenizer")]
    for file, code in zip(files, ("sys.exit(3)", "print('ran b')", "sys.exit(1)")):
        (tmp_path / file).write_text(f"import sys\n{code}\n")
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    for mark in (".base", ".bench"):  # as if all were installed
        (tmp_path / "env" / mark).touch()
    done = subprocess.run(
        [make, target, "VENV=env"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (
        done.returncode == 2 and "ran b" in done.stdout
    )  # make's own code for a target that failed
    assert f"failed: {files[0]} {files[2]}" in done.stderr


def test_no_workplace_path_in_the_tree() -> None:
    pattern = re.compile("|".join(("/wor" + "k/", r"\.\./sha" + "red", "/ro" + "ot/")))
    for path in [*SOURCES, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert not pattern.search(path.read_text(encoding="utf-8")), (
            f"{path} names one machine's path"
        )
