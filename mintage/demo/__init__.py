"""The demos: the whole road on real data, on a stack of their own that is gone afterwards."""

from pathlib import Path
from typing import Any

from mintage.demo.stage import Show


def run(what: str, out: Path, show: Show | None = None) -> dict[str, Any]:
    """Run the demo of tables or of images; returns what it saved and how long each stage took."""
    from mintage.demo import images, table

    show = show or Show()
    result = images.run(out, show) if what == "images" else table.run(out, show)
    return {"saved": str(out), "seconds": show.seconds, **result}
