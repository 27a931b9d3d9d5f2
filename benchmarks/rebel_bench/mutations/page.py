"""The measured part of docs/mutations.md, written from stored results: which claim catches which bug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rebel_bench.errors import UserError
from rebel_bench.mutations.bugs import Bug
from rebel_bench.mutations.runner import BASELINE, how, read
from rebel_bench.registry import find_all, natural_order

Stored = Mapping[str, Any]
_MARKS = {"refuted": "**{}**", "inconclusive": "**{}**?", "control": "{} (control)", "error": "{} (error)"}


def collect(folder: Path, bugs: Mapping[str, Bug], earlier: Stored | None = None) -> dict[str, Any]:
    """Return what a folder of results says, in the form that the repository keeps.

    ``earlier`` is what it kept before: of a bug that is still the same, results that the folder lacks stay.
    """
    baseline = read(folder, BASELINE)
    if not baseline:
        raise UserError(f"{folder} has no {BASELINE}.json: run `python -m rebel_bench.mutations run --out {folder}`")
    kept: dict[str, Any] = {
        "scale": baseline["scale"],
        "seed": baseline["seed"],
        "seconds": {c: r["seconds"] for c, r in _ordered(baseline["results"])},
        "networks": [c for c, found in find_all().items() if found.claim.requires and c in baseline["results"]],
        "bugs": {},
    }
    comparable = earlier is not None and all(earlier[key] == kept[key] for key in ("scale", "seed"))
    before: Mapping[str, Any] = earlier["bugs"] if earlier is not None and comparable else {}
    for bug in bugs.values():
        results: dict[str, str] = {}
        if before.get(bug.id, {}).get("fingerprint") == bug.fingerprint:
            results |= before[bug.id]["results"]
        found = read(folder, bug.id)
        if found and found["fingerprint"] == bug.fingerprint:
            results |= {c: how(r) for c, r in found["results"].items()}
        if results:
            known = {c: h for c, h in _ordered(results) if c in kept["seconds"]}
            kept["bugs"][bug.id] = {"fingerprint": bug.fingerprint, "results": known}
    return kept


def _ordered(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(results.items(), key=lambda item: natural_order(item[0]))


def catches(stored: Stored, bug: str) -> dict[str, str]:
    """Return the claims that caught a bug, and how."""
    results: Mapping[str, str] = stored["bugs"].get(bug, {}).get("results", {})
    return {claim: found for claim, found in results.items() if found}


def sections(stored: Stored, bugs: Mapping[str, Bug]) -> dict[str, str]:
    """Return the Markdown of every section."""
    return {
        "summary": _summary(stored, bugs),
        "bugs": _bugs(stored, bugs),
        "claims": _claims(stored, bugs),
        "uncaught": _uncaught(stored, bugs),
    }


def _summary(stored: Stored, bugs: Mapping[str, Bug]) -> str:
    n_caught = sum(bool(catches(stored, b)) for b in bugs)
    by_claim = sum(any(h in ("refuted", "inconclusive") for h in catches(stored, b).values()) for b in bugs)
    n_claims, n_runs = len(stored["seconds"]), sum(len(b["results"]) for b in stored["bugs"].values())
    networks = set(stored["networks"])
    of_networks = sum(bug.neural for bug in bugs.values())
    full = sum(
        set(stored["bugs"].get(b.id, {"results": ()})["results"]) >= (networks if b.neural else set(stored["seconds"]))
        for b in bugs.values()
    )
    return (
        f"**{n_caught} of {len(bugs)} bugs are caught**, {by_claim} by a claim that no longer holds, the others by a "
        f"control that is no longer refuted or by an error. Measured at scale `{stored['scale']}`, seed "
        f"{stored['seed']}, with {n_claims} claims, which all pass without a bug: {n_runs:,} runs of a claim with its "
        f"control. The {of_networks} bugs of `rebel_theory.torch` can meet the {len(networks)} claims on networks "
        f"only, for no other imports it; with that, {full} bugs met every claim. For the others the run began with the "
        "claims that are aimed at them, and then took the cheapest first or ended at the first that caught them. So "
        "this is no full matrix: a claim that is missing may not have been run, as the last column says."
    )


def _bugs(stored: Stored, bugs: Mapping[str, Bug]) -> str:
    rows = []
    for bug in bugs.values():
        caught = catches(stored, bug.id)
        claims = ", ".join(_MARKS[found].format(claim) for claim, found in caught.items()) or "none"
        what = f"`{bug.id}`<br>{bug.file}"
        n_run = len(stored["bugs"].get(bug.id, {"results": ()})["results"])
        rows.append((what, f"{bug.kind}: {bug.why}", claims, f"{len(caught)} of {n_run}"))
    return _table(("bug", "what it is", "caught by", "claims"), rows)


def _claims(stored: Stored, bugs: Mapping[str, Bug]) -> str:
    rows = []
    for claim in stored["seconds"]:
        met = [b for b in bugs if claim in stored["bugs"].get(b, {"results": ()})["results"]]
        mine = [b for b in met if claim in catches(stored, b)]
        alone = [b for b in mine if len(catches(stored, b)) == 1]
        rows.append((claim, f"{len(mine)} of {len(met)}", ", ".join(f"`{b}`" for b in alone)))
    return _table(("claim", "bugs caught", "which no other claim that was run caught"), rows)


def _uncaught(stored: Stored, bugs: Mapping[str, Bug]) -> str:
    left = [bug for bug in bugs.values() if not catches(stored, bug.id)]
    if not left:
        return "None."
    return "\n".join(f"- `{bug.id}`: {bug.uncaught or 'a hole in the ledger, not yet closed.'}" for bug in left)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
