"""The code in the documents, taken out as it stands, so that tests can run it."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def snippets(document: str, heading: str) -> list[str]:
    """The Python under a heading, up to the next one of its level or above; [] if it has none."""
    text = (CHECKOUT / document).read_text()
    level = r"#{1,3}"
    found = re.search(rf"^{level} {re.escape(heading)}\n(.*?)(?=^{level} |\Z)", text, re.M | re.S)
    return re.findall(r"^```python\n(.*?)^```", found[1], re.M | re.S) if found else []
