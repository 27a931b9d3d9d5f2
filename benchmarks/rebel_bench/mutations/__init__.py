"""Bugs planted one at a time in the library, to see which claims catch them: the test of the ledger itself."""
