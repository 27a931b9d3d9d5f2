"""What changes the name of a result, and what does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rebel_bench import fingerprint
from rebel_bench.fingerprint import code_of, edited_since, libraries, sources_of
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
    assert wanted <= names
    # the figure's, the type checker's, and the test's are not: nothing in `check` reads them
    assert not names & {"rebel_bench.figures", "rebel_bench.game", "rebel_bench.style", "rebel_bench.claim"}


def test_a_claim_that_is_written_otherwise_counts_as_a_whole(claim):
    edit(claim, "CLAIM = Claim(", "CLAIM = (Claim)(")
    names = set(sources_of(claim))
    assert "rebel_bench.figures" not in names  # a call is a call
    claim.write_text(CLAIM.replace("CLAIM = Claim(", "FIELDS = dict(") + "CLAIM = Claim(**FIELDS)\n")
    assert {"rebel_bench.figures", "rebel_bench.claim"} <= set(sources_of(claim))


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
        return set(edited_since(claim, now - 100)) - others

    assert edited(50) == {toy_core}
    assert edited(200) == set()
    assert edited(-1000) == set()  # a time to come says nothing


def test_the_claims_that_ship_know_the_library():
    names = set(sources_of(CLAIMS.resolve() / "c1_regret_bound.py"))
    assert {"rebel_theory/run.py", "rebel_envs/__init__.py", "rebel_bench.instances", "rebel_bench.scale"} <= names
    assert not names & {"rebel_bench.figures", "rebel_bench.runner", "rebel_bench.cli"}
