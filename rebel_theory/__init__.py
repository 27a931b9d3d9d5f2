"""rebel_theory: REBEL, natural policy gradient and mirror descent on one core."""

from rebel_theory.problems import *  # noqa: F403
