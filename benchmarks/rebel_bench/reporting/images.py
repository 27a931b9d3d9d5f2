"""Small pictures for pages: the PNG of a figure at screen size, in a palette."""

from __future__ import annotations

import io
from pathlib import Path

WIDTH = 1100  # dots: sharp on a phone, and on a page of 46 rem
COLOURS = 96


def small_png(png: Path) -> tuple[bytes, int, int]:
    """Return a smaller copy of a PNG file with its width and height; equal files give equal bytes."""
    from PIL import Image

    with Image.open(png) as picture:
        flat = picture.convert("RGB")
    if flat.width > WIDTH:
        flat = flat.resize((WIDTH, round(flat.height * WIDTH / flat.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    flat.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue(), flat.width, flat.height
