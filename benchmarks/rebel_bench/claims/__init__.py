"""The claims, one file each: every module here that does not start with ``_`` defines ``CLAIM``."""
