"""What changes the name of a result, and what does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rebel_bench import fingerprint
from rebel_bench.devices import DEVICE
from rebel_bench.fingerprint import code_of, edited_since, libraries, needs_torch, same_libraries, sources_of
from rebel_bench.registry import CLAIMS

CLAIM = '''"""A claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

import toy_core
import mine
from rebel_bench.claim import Claim, Inequality
from rebel_bench.figures import ratios
from rebel_bench.instances import simplex

if TYPE_CHECKING:
    from rebel_bench.game import versus

FACTOR = 2.0
COLOUR = "red"


def helper(x):
    """Return twice the number."""
    # a comment
    return FACTOR * x


class Shape:
    """A shape."""

    SIDES = 3


def check(rng, scale):
    """Return the cases."""
    return helper(toy_core.one() + mine.two()) + simplex(rng, Shape.SIDES)


def draw(fig, cases, control):
    """Draw."""
    ratios(fig, cases, control, COLOUR)


CLAIM = Claim(
    id="C1",
    title="title",
    statement="statement",
    source="source",
    test=Inequality(),
    check=check,
    control=lambda rng, scale: check(rng, scale) + 1,
    control_statement="broken",
    figure=draw,
    blocks=lambda scale: 1,
)
'''


def edit(file: Path, old: str, new: str) -> None:
    """Replace the one ``old`` in a file, at a later time than before."""
    text = file.read_text()
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new))
    later = file.stat().st_mtime + 1
    os.utime(file, (later, later))


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """A claim that uses a package ``toy_core`` in the place of the library, and a module of the user's own."""
    (tmp_path / "toy_core").mkdir()
    (tmp_path / "toy_core" / "__init__.py").write_text('"""Core."""\n\ndef one():\n    """Return 1."""\n    return 1\n')
    (tmp_path / "toy_core" / "data.csv").write_text("1,2")
    (tmp_path / "mine.py").write_text("from other import three\n\ndef two():\n    return three() - 1\n")
    (tmp_path / "other.py").write_text("def three():\n    return 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(fingerprint, "_WHOLE", ("toy_core", "rebel_theory"))
    file = tmp_path / "c1.py"
    file.write_text(CLAIM)
    return file


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another\n\n"),
        ('"""A claim."""', '"""The claim."""'),
        ('"""Return the cases."""', ""),
        ('"""A shape."""', '"""No shape."""'),
        ('statement="statement"', 'statement="a better one"'),
        ("test=Inequality()", "test=Inequality(slack=1e-3)"),
        ("figure=draw", "figure=None"),
        ('"red"', '"blue"'),
        ("ratios(fig, cases", "ratios(fig, 2 * cases"),
    ],
)
def test_what_measures_nothing_does_not_count(claim, old, new):
    before = code_of(claim)
    edit(claim, old, new)
    assert code_of(claim) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR = 2.0", "FACTOR = 3.0"),
        ("return FACTOR * x", "return FACTOR + x"),
        ("SIDES = 3", "SIDES = 4"),
        ("check(rng, scale) + 1", "check(rng, scale) + 2"),
        ("scale: 1,", "scale: 2,"),
        ('id="C1"', 'id="C2"'),
        ("import toy_core\n", "import toy_core\ntoy_core.one = lambda: 7\n"),
        ("import mine\n", "import toy_core as mine\n"),
        ('COLOUR = "red"', 'COLOUR = "red"\nfor FACTOR in range(3):\n    pass\n'),
        ("from rebel_bench.instances import", "from rebel_bench.game.analysis import"),
    ],
)
def test_what_measures_counts(claim, old, new):
    before = code_of(claim)
    edit(claim, old, new)
    assert code_of(claim) != before
    edit(claim, new, old)
    assert code_of(claim) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("toy_core/__init__.py", "return 1", "return 2", True),
        ("toy_core/__init__.py", '"""Return 1."""', "", False),
        ("toy_core/__init__.py", "def one", "# a comment\ndef one", False),
        ("toy_core/data.csv", "1,2", "1,3", True),
        ("mine.py", "- 1", "+ 1", True),
        ("other.py", "return 3", "return 4", True),  # two steps away
    ],
)
def test_the_library_counts_and_so_do_modules_of_the_users_own(claim, name, old, new, counts):
    before = code_of(claim)
    edit(claim.parent / name, old, new)
    assert (code_of(claim) != before) == counts


def test_what_a_loop_at_the_top_uses_counts(claim):
    added = "\nLAST = 3\nfor i in range(LAST):\n    toy_core.one = lambda i=i: i\n"
    edit(claim, "import toy_core\n", "import toy_core\n" + added)
    before = code_of(claim)
    edit(claim, "LAST = 3", "LAST = 4")
    assert code_of(claim) != before


def test_a_new_file_of_the_library_counts(claim):
    before = code_of(claim)
    (claim.parent / "toy_core" / "new.py").write_text("x = 1\n")
    assert code_of(claim) != before


def test_the_place_of_the_files_does_not_count(claim, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = code_of(claim)
    claim.parent.rename(elsewhere)
    monkeypatch.syspath_prepend(elsewhere)
    assert code_of(elsewhere / "c1.py") == before


def test_only_what_is_reached_is_followed(claim):
    names = set(sources_of(claim))
    wanted = {"claim", "toy_core/__init__.py", "toy_core/data.csv", "mine.py", "other.py", "rebel_bench.instances"}
    assert wanted | {"rebel_bench.scale", "rebel_bench.streams"} <= names  # what any check is called with
    # the figure's, the type checker's, and the test's are not: nothing in `check` reads them
    assert not names & {"rebel_bench.figures", "rebel_bench.game", "rebel_bench.style", "rebel_bench.claim"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CLAIM = Claim(", "CLAIM = (Claim)("),
        ("def draw(", "@dataclass\nclass Point:\n    x: int = 0\n\n\ndef draw("),
        ("    return FACTOR * x\n", "    def draw():\n        return x\n\n    return FACTOR * draw()\n"),
        ("    return FACTOR * x\n", "    return [FACTOR * draw for draw in (x,)][0]\n"),
        ("    SIDES = 3\n", "    SIDES = 3\n\n    def draw(self):\n        return self.draw\n"),
        ('COLOUR = "red"', 'COLOUR = max("blue", "red")'),
    ],
)
def test_figures_stay_out_where_a_name_is_only_the_same(claim, old, new):
    edit(claim, old, new)
    assert "rebel_bench.figures" not in sources_of(claim)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CLAIM = Claim(", "CLAIM: Claim = Claim("),
        ("    blocks=lambda scale: 1,\n)", "    blocks=lambda scale: 1,\n    **{}\n)"),
        ("\nFACTOR = 2.0", "\ndef wrap(**fields):\n    return Claim(**fields)\n\n\nClaim = wrap\nFACTOR = 2.0"),
        ("CLAIM = Claim(", "from mine import make\n\nCLAIM = make("),
        ("def draw(", "object.__setattr__(CLAIM, 'check', 1)\n\n\ndef draw("),
        ("return FACTOR * x", "return FACTOR * x * len(CLAIM.id)"),
        ("return FACTOR * x", "return globals()['FACTOR'] * x"),
        ("return FACTOR * x", "return eval('FACTOR') * x"),
    ],
)
def test_a_claim_that_is_written_otherwise_counts_as_a_whole(claim, old, new):
    edit(claim, old, new)
    assert {"rebel_bench.figures", "rebel_bench.claim"} <= set(sources_of(claim))


@pytest.mark.parametrize(
    ("added", "old", "new"),
    [
        (
            "ALL = []\n\n\ndef known(f):\n    ALL.append(f)\n    return f\n\n\n@known\ndef case():\n    return 1\n\n\n"
            "def other():\n    return case\n",
            "1",
            "2",
        ),
        ("ALL = []\n\n\ndef known(f):\n    ALL.append(f)\n\n\nDONE = known(1)\nSAID = print(DONE)\n", "(1)", "(2)"),
        ("class ALL:\n    pass\n\n\nclass Case(ALL):\n    X = 1\n\n\ndef other():\n    return Case\n", "1", "2"),
        ("ALL = {}\n\n\nclass Case:\n    ALL['x'] = 1\n\n\ndef other():\n    return Case\n", "1", "2"),
        ("ALL = {}\n_ = toy_core.one(1)\n", "one(1)", "one(2)"),
        ("ALL = {}\nSIZE = ALL.setdefault('x', 1)\n\n\ndef other():\n    return SIZE\n", ", 1", ", 2"),
        ("ALL = {}\nfrom mine import known\n\n\n@known(1)\ndef other():\n    return ALL\n", "(1)", "(2)"),
        ("A, ALL = 1, {}\nSIZE = ALL.setdefault('x', 1)\n\n\ndef other():\n    return SIZE\n", "'x', 1", "'x', 2"),
        ("X = [LAST := 1 for _ in (0,)]\nALL = [LAST]\n\n\ndef other():\n    return X\n", ":= 1", ":= 2"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    ALL = 1\n", "= 1", "= 2"),
        ("def ALL(x='a' + 'b'):\n    return x\n", "'b'", "'c'"),
    ],
)
def test_what_changes_what_is_reached_counts(claim, added, old, new):
    edit(claim, 'COLOUR = "red"\n', f'COLOUR = "red"\n{added}')
    edit(claim, "return FACTOR * x", "return FACTOR * x * len(ALL) + mine.two()")
    before = code_of(claim)
    edit(claim, old if claim.read_text().count(old) == 1 else added, new if old != "1" else added.replace(old, new))
    assert code_of(claim) != before


def test_an_import_counts_for_what_it_does_or_for_the_names_that_are_reached(claim):
    before = code_of(claim)
    edit(claim, "import Claim, Inequality\n", "import AtLeast, Claim, Inequality\n")
    edit(claim, "test=Inequality()", "test=AtLeast(1)")
    assert code_of(claim) == before
    edit(claim, "import ratios\n", "import ratios\nimport other\n")  # nobody uses it: it is there for what it does
    assert "other.py" in sources_of(claim)
    assert code_of(claim) != before


@pytest.mark.parametrize(
    "reaching",
    [
        "import rebel_bench.game.versus\n    return rebel_bench.game.versus.DEFAULT_STEP + x",
        "from rebel_bench.game import versus\n    return x",
        "from rebel_bench.game.versus import DEFAULT_STEP\n    return x",
        "import rebel_bench\n    return rebel_bench.game.versus.DEFAULT_STEP + x",
        "import rebel_bench.game as game\n    return game.versus.DEFAULT_STEP + x",
        "from rebel_bench import game\n    return game.versus.DEFAULT_STEP + x",
    ],
)
def test_modules_of_ours_are_followed_however_they_are_named(claim, reaching):
    assert "rebel_bench.game.versus" not in sources_of(claim)
    edit(claim, "return FACTOR * x", reaching)
    assert {"rebel_bench.game.versus", "rebel_bench.algorithm_specs"} <= set(sources_of(claim))


def test_relative_imports_are_those_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "rebel_bench"
    (package / "inner").mkdir(parents=True)
    for name in ("fingerprint", "one", "scale", "streams", "four", "inner/two", "inner/three"):
        (package / f"{name}.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "one.py").write_text("from .inner import two\n")
    (package / "inner" / "two.py").write_text("from . import three\nfrom ..four import nothing\n")
    monkeypatch.setattr(fingerprint, "__file__", str(package / "fingerprint.py"))
    file = tmp_path / "c1.py"
    file.write_text("import rebel_bench.one\n")
    assert {"rebel_bench.inner.two", "rebel_bench.inner.three", "rebel_bench.four"} <= set(sources_of(file))


# ---------------------------------------------------------------------------------------------------------- torch


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return FACTOR * x", "import torch\n    return torch.tensor(x)"),
        ("return FACTOR * x", "from rebel_theory.torch import mlp\n    return mlp"),
        ("return FACTOR * x", "import rebel_theory.torch.policy as p\n    return p"),
        ("return FACTOR * x", "import rebel_theory as rt\n    return rt.torch.mlp"),
        ("return FACTOR * x", "return __import__('importlib').import_module('rebel_theory.torch')"),
        ("return FACTOR * x", "from rebel_bench.claims import _neural\n    return _neural"),
        ("return FACTOR * x", "from rebel_bench.claims._neural import policy\n    return policy"),
        ("blocks=lambda scale: 1,\n", "blocks=lambda scale: 1,\n    requires=('torch',),\n"),
        ("blocks=lambda scale: 1,\n", "blocks=lambda scale: 1,\n    requires=NEEDED,\n"),
    ],
)
def test_a_claim_that_reaches_torch_depends_on_it(claim, old, new):
    assert not needs_torch(claim)
    assert not [name for name in sources_of(claim) if "torch" in name]
    assert ", torch " not in libraries(claim)
    edit(claim, old, new)
    assert needs_torch(claim)
    assert {"rebel_theory/torch/__init__.py", "rebel_theory/torch/device/__init__.py"} <= set(sources_of(claim))
    assert ", torch " in libraries(claim)


@pytest.mark.parametrize("name", ["toy_core/__init__.py", "mine.py", "other.py"])
def test_a_claim_reaches_torch_through_what_it_imports(claim, name):
    file = claim.parent / name
    file.write_text(file.read_text() + "\ndef late():\n    import rebel_theory.torch as neural\n    return neural\n")
    assert needs_torch(claim)
    assert "rebel_theory/torch/policy.py" in sources_of(claim)


def test_drawing_comments_and_types_reach_no_torch(claim):
    edit(claim, "    from rebel_bench.game import versus\n", "    from rebel_theory.torch import TorchPolicy\n")
    edit(claim, "# a comment", "# torch")
    edit(claim, '"""Return twice the number."""', '"""Return what torch would."""')
    edit(claim, '"""Draw."""', "import torch")
    assert not needs_torch(claim)


def test_what_a_claim_requires_is_among_its_libraries(claim, monkeypatch):
    edit(claim, "blocks=lambda scale: 1,\n", "blocks=lambda scale: 1,\n    requires=('nowhere_to_be_found',),\n")
    assert libraries(claim).endswith(", nowhere_to_be_found none")
    assert not needs_torch(claim)
    edit(claim, "('nowhere_to_be_found',)", "('torch', 'numba')")
    monkeypatch.setattr(fingerprint, "version", lambda name: "7")
    fingerprint._version.cache_clear()
    try:
        assert libraries(claim).endswith("numba 7, torch 7")
    finally:
        fingerprint._version.cache_clear()


def test_the_device_is_that_of_claims_that_reach_torch(claim, monkeypatch):
    plain = libraries(claim)
    monkeypatch.setenv(DEVICE, "cuda")
    assert libraries(claim) == plain
    edit(claim, "return FACTOR * x", "import torch\n    return torch.tensor(x)")
    neural = libraries(claim)
    assert neural.endswith(", device cuda")
    monkeypatch.setenv(DEVICE, "cpu")
    assert libraries(claim) == neural.removesuffix(", device cuda")
    assert same_libraries(libraries(claim), neural)
    assert not same_libraries(plain, neural)


def test_the_claims_on_networks_and_no_others_depend_on_torch():
    files = [file for file in CLAIMS.resolve().glob("*.py") if not file.name.startswith("_")]
    assert len(files) >= 40
    assert {file.name[:2] for file in files if needs_torch(file)} == {"n1", "n2", "n3", "n4", "n5"}


def test_what_is_installed_counts_by_its_version_only(claim):
    edit(claim, "import mine\n", "import mine\nimport numpy as np\n\nnp.seterr(all='raise')\n")
    assert not [name for name in sources_of(claim) if "numpy" in name]
    assert libraries().startswith("python 3.")
    assert all(f", {name} " in libraries() for name in ("numpy", "scipy", "numba"))


def test_edits_since_a_moment(claim):
    toy_core = claim.parent / "toy_core" / "__init__.py"
    now = time.time()

    def edited(seconds_ago):
        for file in (toy_core, claim):  # the claim's own is loaded anew each time
            os.utime(file, (now - seconds_ago,) * 2)
        others = {claim.parent / name for name in ("toy_core/data.csv", "mine.py", "other.py")}
        found = {path for path in edited_since(claim, now - 100) if claim.parent in path.parents}
        return found - others  # nor the library's, which somebody may be editing

    assert edited(50) == {toy_core}
    assert edited(200) == set()
    assert edited(-1000) == set()  # a time to come says nothing


def test_the_claims_that_ship_know_the_library():
    names = set(sources_of(CLAIMS.resolve() / "c1_regret_bound.py"))
    assert {"rebel_theory/run.py", "rebel_envs/__init__.py", "rebel_bench.instances", "rebel_bench.scale"} <= names
    assert "rebel_bench.streams" in names
    assert not names & {"rebel_bench.figures", "rebel_bench.runner", "rebel_bench.cli"}
