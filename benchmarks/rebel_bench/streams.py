"""Random streams from names, so that a new claim or another worker changes nobody's numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*names: str | int, seed: int) -> np.random.Generator:
    """Return the generator of ``names`` under ``seed``: equal names, equal stream; other names, another.

    The names are hashed (SHA-256) into the spawn key of a ``SeedSequence``, so a stream depends on its own
    name only and never on how many streams were made before it.

    >>> bool(stream("C1", "check", seed=0).random() == stream("C1", "check", seed=0).random())
    True
    >>> bool(stream("C1", "check", seed=0).random() == stream("C1", "control", seed=0).random())
    False
    """
    # repr separates 1 from "1", and ("C1", "1") from ("C11", ""): plain joining would not
    digest = hashlib.sha256(repr(names).encode()).digest()
    words = tuple(int(word) for word in np.frombuffer(digest, dtype="<u4"))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=words))
