"""The attacks of a claim: the file ``attacks/ID.py`` next to the claim's own, with ``ATTACKS``, a tuple."""

from __future__ import annotations

import importlib
import traceback
from types import ModuleType

from rebel_bench.adversary.attack import Attack
from rebel_bench.errors import ClaimError, UserError
from rebel_bench.registry import CLAIMS, Found
from rebel_bench.user_files import load_module


def attacks_of(found: Found) -> tuple[Attack, ...]:
    """Return how a claim is attacked; () where no file says so.

    Raises
    ------
    UserError
        For a file without a tuple of attacks, two of one label, or two ways to measure.
    ClaimError
        For a file that cannot be imported.
    """
    file = found.file.parent / "attacks" / f"{found.claim.id.lower()}.py"
    if not file.is_file():
        return ()
    try:
        module: ModuleType
        if file.parent.parent == CLAIMS.resolve():
            module = importlib.import_module(f"rebel_bench.claims.attacks.{file.stem}")
        else:
            module = load_module(file, "attack")
    except UserError:
        raise
    except Exception:
        raise ClaimError(f"file {file.name}", traceback.format_exc()) from None
    attacks = getattr(module, "ATTACKS", None)
    if not isinstance(attacks, tuple) or not attacks or not all(isinstance(a, Attack) for a in attacks):
        raise UserError(f"the file {file} has no `ATTACKS = (Attack(...), ...)`: add it")
    labels = [a.label for a in attacks]
    if len(set(labels)) < len(labels):
        raise UserError(f"the file {file} has two attacks of one label: {', '.join(labels)}")
    if len({a.measure for a in attacks}) > 1:  # or a file found by one could not be replayed by another
        raise UserError(f"the attacks in {file} measure differently: give all of them one function")
    return attacks
