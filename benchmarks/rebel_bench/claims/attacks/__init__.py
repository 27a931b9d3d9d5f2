"""One file a claim, found by its id: how the adversary searches the claim's inequality."""
