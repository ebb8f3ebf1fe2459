"""docs/reference.md is what the code says today."""

from __future__ import annotations

import re

from reference_page import PAGE, page

from resilience.run.ending import EXIT_CODES


def test_reference_is_up_to_date() -> None:
    """`make reference` would change nothing."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make reference"


def test_reference_lists_what_it_promises() -> None:
    """Every kind of thing is there, and links within the page lead somewhere."""
    told = page()
    for word in (
        "### chaos-spike history trend",
        "`--overlay`",
        "### HttpLoad",
        "| R20 |",
        "`resilience4j`",
        "`slow_close`",
    ):
        assert word in told, word
    for code in set(EXIT_CODES.values()):
        assert re.search(rf"^\| {code} \|", told, re.MULTILINE), code
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", told, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", told)) <= headings
