"""What senders wrote, as a terminal may show it: it neither styles nor steers the terminal.

https://owasp.org/www-project-application-security-verification-standard/ V5 (ANSI escapes, markup of the printer)
"""

from __future__ import annotations

import re

from rich.text import Text

# Controls but for tab and line end, and what turns the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def shown(text: str | None) -> Text:
    r"""Return text to print as it is, with what would steer a terminal spelled out.

    >>> shown("[red]\x1b[31mA").plain
    '[red]\\x1b[31mA'
    """
    return Text(_STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text or ""))
