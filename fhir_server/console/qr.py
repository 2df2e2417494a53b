"""A QR code as part of a page: an authenticator app reads its secret from it.

https://www.iso.org/standard/83389.html
"""

from __future__ import annotations

import segno
from markupsafe import Markup


def picture(address: str) -> Markup:
    """Return the code as SVG, drawn dark on light whatever the page's colours are."""
    drawn = segno.make(address, error="m").svg_inline(scale=4, border=4, light="#fff", omitsize=True, svgclass="qr")
    return Markup(drawn)  # noqa: S704 - drawn by the library, which writes nothing of the address as text
