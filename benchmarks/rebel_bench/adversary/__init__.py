"""The adversary: a search over instances for the largest measured/bound of a claim's inequality."""
