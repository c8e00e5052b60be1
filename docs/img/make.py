"""Makes the README's pictures from real runs of both demos; needs Chromium.

python docs/img/make.py [table] [images]"""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from rich.console import Console

from mintage.demo import run
from mintage.demo.stage import Show

HERE = Path(__file__).parent
COLUMNS, WIDTH = 110, 1200
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


def table() -> None:
    """What the demo printed, as a picture."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        console = Console(record=True, width=COLUMNS, force_terminal=False, highlight=False)
        run("table", folder / "out", Show(console))
        svg = console.export_svg(title="make demo")
        width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
        page, shot = folder / "demo.html", folder / "demo.png"
        page.write_text(f"<body style='margin:0'>{svg.replace('<svg ', f'<svg width={WIDTH} ', 1)}</body>")
        size = f"--window-size={WIDTH},{round(WIDTH * height / width)}"
        command = [*BROWSER, f"--user-data-dir={folder}/profile", f"--screenshot={shot}", size, f"file://{page}"]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(64).save(HERE / "demo.png", optimize=True)


def images() -> None:
    """The digits, three times as large."""
    with TemporaryDirectory() as folder:
        run("images", Path(folder), Show(Console(width=COLUMNS, highlight=False)))
        with Image.open(Path(folder) / "digits.png") as grid:
            larger = grid.convert("L").resize((grid.width * 2, grid.height * 2), Image.Resampling.LANCZOS)
            larger.save(HERE / "digits.png", optimize=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["table", "images"]:
        {"table": table, "images": images}[name]()
