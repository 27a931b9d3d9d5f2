import sys

import numpy as np
import pytest

import rebel_envs as envs
from rebel_envs import icu


@pytest.fixture(scope="module")
def mdp():
    try:
        icu.dynamics_file()
    except ImportError as error:
        pytest.skip(str(error))
    return envs.icu_sepsis(sparse=True)


def test_it_is_the_packages_table(mdp):
    with np.load(icu.dynamics_file()) as data:
        p, r, first, expert = (data[k] for k in ("tx_mat", "r_mat", "d_0", "expert_policy"))
    assert mdp.policy_shape == (716, 25)
    assert mdp.discount == 1.0
    rng = np.random.default_rng(0)
    for s, a in zip(rng.integers(713, size=20), rng.integers(25, size=20), strict=True):
        np.testing.assert_allclose(mdp.transition[[s * 25 + a]].toarray()[0], p[s, a], atol=1e-12)
        assert mdp.reward[s, a] == pytest.approx(p[s, a] @ r[s, a], abs=1e-15)
    # under the clinicians' policy the value is the probability of reaching survival (714) rather than death (713)
    chain = np.einsum("sa,sat->st", expert, p)[:713]
    survive = np.linalg.solve(np.eye(713) - chain[:, :713], chain[:, 714])
    ours = np.asarray(mdp.transition.multiply(expert.reshape(-1, 1)).tocsr().todense()).reshape(716, 25, 716).sum(1)
    value = np.linalg.solve(np.eye(715) - ours[:715, :715], (expert * mdp.reward).sum(1)[:715])
    np.testing.assert_allclose(value[:713], survive, rtol=1e-9)
    assert 0.7 < first[:713] @ survive < 0.85
    np.testing.assert_array_equal(np.flatnonzero(mdp.absorbing), [715])


def test_the_package_itself_is_not_imported(mdp):
    assert "icu_sepsis" not in sys.modules


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "rebel-theory\[icu\]"'):
        envs.icu_sepsis()


def test_an_old_package_is_named(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    with pytest.raises(ImportError, match=r"2\.0 or newer"):
        envs.icu_sepsis()
