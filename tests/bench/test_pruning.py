"""``verify --prune`` removes what older code left and the run has replaced, and nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import rebel_bench
from rebel_bench.cli import main
from rebel_bench.devices import DEVICE
from rebel_bench.fingerprint import code_of, libraries
from rebel_bench.keeper import Keeper
from rebel_bench.progress import Silent
from rebel_bench.pruning import Prunable
from rebel_bench.results import Results
from rebel_bench.scale import Scale
from rebel_bench.store import Spec, Store

CLAIM = """
import pandas as pd

from rebel_bench.claim import Claim, Inequality


def cases(rng, bound):
    return pd.DataFrame({{"value": rng.random(3), "bound": bound}})


CLAIM = Claim(
    id="{id}",
    title="a title",
    statement="a statement",
    source="nowhere",
    test=Inequality(),
    check=lambda rng, scale: cases(rng, 1.0),
    control=lambda rng, scale: cases(rng, 1e-3),
    control_statement="too small a bound",
    blocks=lambda scale: 2,
    {more}
)
"""


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def claims(tmp_path):
    """Two claims of two blocks: eight units a scale and seed."""
    folder = tmp_path / "claims"
    folder.mkdir()
    for id_ in ("C1", "C2"):
        (folder / f"{id_.lower()}.py").write_text(CLAIM.format(id=id_, more=""))
    return folder


@pytest.fixture
def verify(claims, out, capsys):
    """Run the command on the claims; return what it printed."""

    def run(*arguments):
        code = main(["verify", "--claims", str(claims), "--out", str(out), "--no-figures", *arguments])
        assert code == 0
        return capsys.readouterr()

    return run


def units(out):
    return {path.name for path in (out / "units").iterdir()}


def edit(claims, id_="c1", old="1e-3", new="2e-3"):
    file = claims / f"{id_}.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def put(out, spec):
    """Write a unit that nobody measured."""
    store = Store(out)
    store.prepare()
    store.write(spec, pd.DataFrame({"value": [1.0]}), statement="a statement", version="0")
    return f"{spec.name}.parquet"


def present(claims, id_="c1", scale=Scale.QUICK):
    file = claims / f"{id_}.py"
    return Spec(id_.upper(), "check", scale, 0, 0, 2, code_of(file), libraries(file))


def test_what_a_run_has_replaced_goes(verify, claims, out):
    verify()
    older = {name for name in units(out) if name.startswith("C1")}
    kept = units(out) - older
    edit(claims)
    said = verify("--prune").out
    assert "Removed 4 units of older code or libraries: C1 4 (" in said
    assert units(out) & older == set()
    assert kept < units(out)
    assert len(units(out)) == 8
    assert "8 of 8 units were kept" in verify().out
    assert "Removed 0 units of older code or libraries\n" in verify("--prune").out


def test_without_the_option_nothing_goes(verify, claims, out):
    verify()
    edit(claims)
    verify()
    assert len(units(out)) == 12


def test_a_dry_run_lists_and_removes_nothing(verify, claims, out, capsys):
    verify()
    older = {name for name in units(out) if name.startswith("C1")}
    edit(claims)
    said = verify("--prune", "--dry-run").out
    assert "Would remove 4 units" in said
    assert {Path(line).name for line in said.splitlines() if line.endswith(".parquet")} == older
    assert len(units(out)) == 12
    found = json.loads(verify("--prune", "--dry-run", "--json").out)["pruned"]
    size = sum((out / "units" / name).stat().st_size for name in older)
    assert found == {"units": sorted(older), "bytes": size, "dry_run": True}
    assert set(json.loads(verify("--prune", "--json").out)["pruned"]["units"]) == older
    assert len(units(out)) == 8
    assert "pruned" not in json.loads(verify("--json").out)
    assert main(["verify", "--dry-run", "--claims", str(claims), "--out", str(out)]) == 2
    assert "add --prune" in capsys.readouterr().err


def test_other_claims_scales_and_what_other_options_would_read_stay(verify, claims, out):
    now = present(claims)
    stay = [
        replace(now, seed=7),
        replace(now, scale=Scale.PAPER),
        replace(now, scale=Scale.PAPER, code="0123456789abcdef"),  # that scale has not been measured again
        replace(now, libraries=f"{now.libraries}, device cuda"),
        replace(now, claim="C2", code="0123456789abcdef"),  # not asked for
        replace(now, claim="C3", code="0123456789abcdef"),  # of another folder, perhaps
    ]
    go = [
        replace(now, code="0123456789abcdef"),
        replace(now, seed=7, code="0123456789abcdef"),
        replace(now, libraries="python 2.7, numpy 0.9"),
        replace(now, code="0123456789abcdef", libraries=f"{now.libraries}, device cuda"),
    ]
    names = {put(out, spec) for spec in stay}
    for spec in go:
        put(out, spec)
    verify("C1", "--prune")
    assert units(out) == names | {f"{s.name}.parquet" for part in ("check", "control") for s in now.siblings(part)}


def test_files_that_are_no_units_stay(verify, claims, out):
    now = replace(present(claims), code="0123456789abcdef")
    name = put(out, now)
    folder = out / "units"
    foreign = {"C1-check-notes.parquet": b"words", "C1-check-0123456789abcdef.parquet": b"", "C1.txt": b"x"}
    for other, content in foreign.items():
        (folder / other).write_bytes(content)
    (folder / name).rename(folder / "C1-check-mine.parquet")  # the name is not that of what it holds
    (folder / "C1-check-folder.parquet").mkdir()
    verify("--prune")
    assert {*foreign, "C1-check-mine.parquet", "C1-check-folder.parquet"} < units(out)


def test_a_claim_whose_units_are_not_whole_loses_nothing(verify, claims, out):
    verify()
    edit(claims)
    before = Prunable.before_the_run(out)
    result = rebel_bench.verify(claims=claims, out=out)
    gone = Store(out).path(present(claims))
    content = gone.read_bytes()
    gone.unlink()  # as if it had not been kept
    assert before.prune(result).units == {}
    gone.write_bytes(content)
    assert len(before.prune(result).units) == 4


def test_what_another_run_writes_meanwhile_stays(verify, claims, out):
    verify()
    edit(claims)
    before = Prunable.before_the_run(out)
    result = rebel_bench.verify(claims=claims, out=out)
    older = sorted(path for path in (out / "units").glob("C1-*") if path.stem in {s.name for s in before.there})
    assert len(older) == 4
    [again, pruned, *others] = older
    put(out, next(spec for spec in before.there if spec.name == again.stem))  # by the other run's code, in its place
    put(out, replace(present(claims), code="0123456789abcdef"))
    pruned.unlink()  # by another run that prunes
    assert set(before.prune(result).units) == set(others)
    assert again.exists()


def test_runs_that_read_beside_a_pruning_see_what_is_left(verify, claims, out, monkeypatch):
    verify()
    store = Store(out)
    specs = list(store.specs())
    listed = Store.specs

    monkeypatch.setattr(Path, "is_file", lambda self: True)  # it was there a moment ago
    store.path(specs[0]).unlink()
    assert store.read(specs[0]) is None
    assert specs[0] not in Keeper.at(out).kept(specs, Silent())  # a warning would be an error here
    monkeypatch.undo()

    def listing(self, claim=None):
        for spec in list(listed(self, claim)):
            self.path(spec).unlink(missing_ok=True)
            yield spec

    monkeypatch.setattr(Store, "specs", listing)
    found = rebel_bench.registry.find_all(claims)
    assert Results(out).latest(found["C2"]) is None


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "gone")])
def test_a_file_that_cannot_be_removed_is_told_of_unless_it_is_gone(verify, claims, out, monkeypatch, error):
    verify()
    edit(claims)
    stuck = min(path.name for path in (out / "units").glob("C1-*"))
    unlink = Path.unlink

    def refuse(self, missing_ok=False):
        if self.name == stuck:
            raise error
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    said = verify("--prune")
    told = f"{stuck} could not be removed (Permission denied)"
    assert (told in said.err) == isinstance(error, PermissionError)
    assert ("could not" in said.err) == isinstance(error, PermissionError)
    assert "Removed 3 units" in said.out
    assert (out / "units" / stuck).exists()


def test_claims_that_cannot_run_here_lose_nothing(verify, claims, out):
    file = claims / "c2.py"
    file.write_text(CLAIM.format(id="C2", more="requires=('nowhere_to_be_found',),"))
    name = put(out, Spec("C2", "check", Scale.QUICK, 0, 0, 2, "0123456789abcdef", "python 2.7"))
    verify("--prune")
    assert name in units(out)


def test_a_folder_that_is_not_there_has_nothing_to_prune(verify, out):
    assert not out.exists()
    assert "Removed 0 units" in verify("--prune").out


def test_results_of_a_device_do_not_replace_those_of_another(verify, claims, out, monkeypatch):
    edit(claims, old="return pd", new="torch = pd\n    return torch")
    verify("--prune")
    on_cpu = units(out)
    monkeypatch.setitem(os.environ, DEVICE, "elsewhere")
    verify("--prune")
    assert on_cpu < units(out)
    assert len(units(out)) == len(on_cpu) + 4
