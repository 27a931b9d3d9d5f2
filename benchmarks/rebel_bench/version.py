"""The version that results are stamped with."""

from __future__ import annotations


def version() -> str:
    """Return the installed version, or the one in ``pyproject.toml`` of a checkout that is not installed.

    Imported late and kept apart: reading the metadata costs more than the rest of ``--help``.
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("rebel-theory")
    except PackageNotFoundError:
        import tomllib
        from pathlib import Path

        project = Path(__file__).parents[2] / "pyproject.toml"
        if not project.is_file():
            return "0+unknown"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
