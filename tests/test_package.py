"""The package as a user meets it: versions, import names and costs, the command line, the code in the documents."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import rebel_bench
import rebel_envs
import rebel_theory
from rebel_bench import registry
from rebel_bench.cli import COMMANDS, main
from rebel_envs.registry import examples

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python(code, *flags, cwd=ROOT):
    command = [sys.executable, *flags, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def read(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", read(path), flags=re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------------------------------------- the package


def test_one_version_everywhere(capsys):
    [cited] = re.findall(r"^version: (\S+)$", read(ROOT / "CITATION.cff"), flags=re.MULTILINE)
    main(["--version"])
    shown = capsys.readouterr().out.split()[-1]
    logged = re.findall(r"^## \[(\d\S*)\]", read(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)
    assert {PROJECT["project"]["version"], rebel_theory.__version__, cited, shown, logged[0]} == {cited}


@pytest.mark.parametrize("name", ["envs.rebel_envs", "benchmarks.rebel_bench"])
def test_a_second_identity_is_refused(name):
    # without site-packages (-S): other projects have installed a top-level `benchmarks` there
    ran = python(f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}", "-S")
    assert ran.returncode == 1
    own = name.split(".")[1]
    assert re.search(rf"ImportError: .*{re.escape(name)}.*write `import {own}", ran.stderr)


def test_the_right_names_import_side_by_side(tmp_path):
    ran = python("import rebel_theory, rebel_envs, rebel_bench, rebel_bench.claim", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_every_package_is_typed_and_in_the_wheel():
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [Path(p).name for p in packages] == ["rebel_theory", "rebel_envs", "rebel_bench"]
    for package in (rebel_theory, rebel_envs, rebel_bench):
        assert (Path(package.__file__).parent / "py.typed").is_file()


def test_importing_the_library_loads_nothing_heavy(tmp_path):
    heavy = ("scipy", "numba", "pandas", "matplotlib", "gymnasium", "pyarrow", "torch")
    ran = python(f"import sys, rebel_theory; print([m for m in {heavy} if m in sys.modules])", cwd=tmp_path)
    assert ran.stdout == "[]\n", ran.stderr


def test_all_is_complete_sorted_and_documented():
    for package in (rebel_theory, rebel_envs):
        assert package.__all__ == sorted(package.__all__)
        assert [name for name in package.__all__ if not (getattr(package, name).__doc__ or "").strip()] == []


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_every_command_shows_examples(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Examples:\n  rebel-theory {name}" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------- the documents


def doctests(path, namespace):
    """Run the console examples of a document, in one namespace."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(path, "pycon")), namespace, path.name, str(path), 0)
    report = []
    found = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    return found, "".join(report)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_the_examples_of_a_document_give_what_they_show(path, tmp_path, monkeypatch):
    if "import rebel_theory.torch" in read(path) or "from rebel_theory.torch" in read(path):
        # not "torch" alone, which finds the folder of its tests
        pytest.importorskip("torch.nn", reason="its examples need PyTorch: pip install 'rebel-theory[torch]'")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for code in blocks(path, "python"):
        exec(compile(code, path.name, "exec"), namespace)
    found, report = doctests(path, namespace)
    assert found.failed == 0, report


def test_the_three_recipes_work(tmp_path, monkeypatch):
    """Write every file of CONTRIBUTING.md where it says (under a folder that joins the packages), and use it."""
    path = ROOT / "CONTRIBUTING.md"
    recipes = [code for code in blocks(path, "python") if code.startswith("# ")]
    assert len(recipes) == 3
    for code in recipes:
        file = tmp_path / code.splitlines()[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    loaded = set(sys.modules)
    algorithms = sys.modules["rebel_theory.algorithms"]
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path / "rebel_theory/algorithms")])
    monkeypatch.setattr(rebel_envs, "__path__", [*rebel_envs.__path__, str(tmp_path / "envs/rebel_envs")])
    monkeypatch.chdir(tmp_path)
    examples.cache_clear()
    try:
        namespace: dict = {}
        found, report = doctests(path, namespace)
        assert found.failed == 0, report
        assert found.attempted >= 12
        marshmallows = sys.modules["rebel_envs.marshmallows"]
        assert doctest.testmod(marshmallows).failed == 0
        for n in range(1, 6):  # the closed form of its docstring
            value = rebel_theory.solve(marshmallows.marshmallow(n, prize=1.3, discount=0.9)).objective
            np.testing.assert_allclose(value, max(1, 0.9**n * 1.3), rtol=1e-12)
    finally:
        for name in {m for m in sys.modules if m.split(".")[-1] in ("optimistic", "marshmallows", "x1_one_step")}:
            if name not in loaded:
                del sys.modules[name]
        examples.cache_clear()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_and_images_of_a_document_exist(path):
    targets = re.findall(r"\]\(([^)#\s]+)\)", read(path))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert missing == []


def test_the_documents_name_every_claim_and_command():
    readme, theory = read(ROOT / "README.md"), read(ROOT / "docs" / "theory.md")
    ids = [claim.id for claim in registry.find_claims()]
    assert [id for id in ids if f"| {id} |" not in theory] == []
    assert [name for name in COMMANDS if f"rebel-theory {name}" not in readme] == []
    assert [name for name in rebel_envs.names() if f"`{name}`" not in readme] == []


def test_the_layers_of_the_architecture_page_are_the_ones_enforced():
    text = read(ROOT / "docs" / "architecture.md")
    inside = next(c for c in PROJECT["tool"]["importlinter"]["contracts"] if "containers" in c)
    modules = [m.strip() for layer in inside["layers"] for m in layer.split(":")]
    places = [text.find(f"| `{module}") for module in modules]
    assert -1 not in places, modules[places.index(-1)]
    assert places == sorted(places)


# ------------------------------------------------------------------------------------ what must not be there


def test_no_private_place_is_named():
    """No folder of somebody's machine, and no address of a package index, in what users read."""
    private = re.compile(r"/(?:work|root|home|tmp)/|index-url|find-links|file://")
    files = [*DOCUMENTS, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "pyproject.toml", ROOT / "CITATION.cff"]
    assert [file.name for file in files if private.search(read(file))] == []
