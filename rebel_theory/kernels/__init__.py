"""All compiled loops, filled in place from arrays that Python allocates: one subject, one file.

Import these modules inside functions only: they load Numba. Callers and callees share a file, because Numba's cache
looks at the caller's file alone.
"""
