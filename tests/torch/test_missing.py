"""Without PyTorch: everything else works, and asking for it names the command that installs it."""

import os
import subprocess
import sys

import pytest

INSTALL = "pip install 'rebel-theory[torch]'"

HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "torch" else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture
def without(tmp_path):
    """Return a function that runs Python where ``import torch`` fails, in this process and in those it starts."""
    (tmp_path / "sitecustomize.py").write_text(HIDDEN, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])

    def run(*arguments):
        command = [sys.executable, *arguments]
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path, env=environment
        )

    assert run("-c", "import torch").returncode == 1
    return run


def test_the_library_imports_and_the_extra_says_what_installs_it(without):
    bandit = "rt.run(rt.ContextualBandit([[1, 0]]), rt.Rebel(1.0), n_iterations=1)"
    ran = without("-c", f"import rebel_theory as rt; print({bandit}.gap.shape)")
    assert ran.stdout == "(1, 2)\n", ran.stderr
    ran = without("-c", "import rebel_theory.torch")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("ImportError: rebel_theory.torch needs PyTorch")
    assert INSTALL in ran.stderr


def test_a_folder_named_torch_is_not_torch(tmp_path):
    """Such as the one of these tests; it is importable, and has nothing in it."""
    (tmp_path / "torch").mkdir()
    code = "import rebel_bench.claim as c; print(c._installed('torch'), c._installed('numpy'))"
    paths = [p for p in map(str, filter(None, sys.path)) if not os.path.isfile(os.path.join(p, "torch", "__init__.py"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *paths])}
    # -S: without the site-packages that may hold the real one; what is needed of them is on the path
    command = [sys.executable, "-S", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    if ran.returncode and "ModuleNotFoundError" in ran.stderr:
        pytest.skip("torch shares a folder with NumPy here: it cannot be taken off the path alone")
    assert ran.stdout == "False True\n", ran.stderr


def test_the_command_line_works_and_names_what_is_left_out(without):
    program = ("-m", "rebel_bench")
    listed = without(*program, "claims")
    assert listed.returncode == 0, listed.stderr
    assert "N1" in listed.stdout
    ran = without(*program, "verify", "E3", "--no-figures")
    assert ran.returncode == 0, ran.stderr
    asked = without(*program, "verify", "N1,E3", "--no-figures")
    assert asked.returncode == 2
    assert INSTALL in asked.stderr
    assert "Traceback" not in asked.stderr
    assert asked.stdout == ""


def test_a_plain_verify_leaves_them_out_by_name(without):
    """The choice itself, for all claims; measuring them is not of this test."""
    code = "\n".join(
        [
            "from rebel_bench import registry",
            "run, left = registry.runnable(registry.select(registry.find_all()), asked=False)",
            "print(*(c.id for c in left), len(run) > 30, any(f.claim.id[0] == 'N' for f in run))",
        ]
    )
    ran = without("-c", code)
    assert ran.stdout == "N1 N2 N3 N4 N5 True False\n", ran.stderr
