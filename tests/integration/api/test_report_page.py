"""A report's page: the model's pictures are part of it, figures stand beside their ceilings, strangers see nothing."""

import base64
import io

import numpy as np
from PIL import Image

from service.api.report import LARGEST_PICTURE
from service.usecases import units

from .conftest import Api
from .test_road import refused

MEANING = {"coverage": "share that has a sample near by"}
REPORT = {
    "verdict": "Good <b>enough</b>.",
    "figures": {"coverage": 0.87},
    "ceiling": {"coverage": 0.97},
    "meaning": MEANING,
    "shown": {
        "film.webp": "As it went.",  # first, as PostgreSQL sorts it
        "samples.png": "A row is a <class>.",
        "neighbours.png": "Beside the nearest.",
    },
}


def png(size: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def film() -> bytes:
    """Two frames."""
    out, frames = io.BytesIO(), [Image.new("RGB", (8, 8), shade) for shade in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()


def trained(api: Api, **pictures: bytes) -> str:
    """A model with these pictures among its files: a film as WebP, others as PNG."""
    job = api.submit(kind="train", dataset_id=api.ready(), config={"preset": "draft"})
    claimed = api.claim(job["id"])
    result = api.result(claimed)
    for name, body in pictures.items():
        file = f"{name}.webp" if name == "film" else f"{name}.png"
        key = claimed.payload["prefix"] + file
        api.context.storage.put(key, body)
        result["files"].append({"key": key, "name": file, "bytes": len(body), "sha256": "0"})
    assert units.finish(api.context, claimed.unit_id, claimed.attempt, result | {"report": REPORT})
    return str(job["model_id"])


def test_the_page_holds_the_pictures_themselves_with_what_the_report_says_of_them(lite: Api) -> None:
    body = png(8)
    page = lite.http.get(f"/v1/models/{trained(lite, samples=body, neighbours=body)}/report.html")
    assert page.status_code == 200
    assert page.text.count(base64.b64encode(body).decode()) == 2
    assert page.text.index("A row is a &lt;class&gt;.") < page.text.index("Beside the nearest.")
    assert "img-src data:" in page.headers["content-security-policy"]
    assert "<b>" not in page.text


def test_the_page_shows_the_film_below_the_pictures_where_there_is_one(lite: Api) -> None:
    body = film()
    page = lite.http.get(f"/v1/models/{trained(lite, film=body, samples=png(8), neighbours=png(8))}/report.html").text
    assert f'<img src="data:image/webp;base64,{base64.b64encode(body).decode()}" alt="film.webp">' in page
    assert page.index("Beside the nearest.") < page.index("data:image/webp") < page.index("As it went.")
    without = lite.http.get(f"/v1/models/{trained(lite, samples=png(8))}/report.html").text
    assert "As it went." not in without
    assert "webp" not in without


def test_a_figure_stands_in_one_row_with_what_could_be_had_and_what_it_means(lite: Api) -> None:
    page = lite.http.get(f"/v1/models/{trained(lite)}/report.html").text
    row = next(line for line in page.splitlines() if "0.87" in line)
    assert "0.97" in row
    assert MEANING["coverage"] in row
    assert page.count(MEANING["coverage"]) == 1
    assert "<img" not in page


def test_a_picture_that_is_too_large_for_a_page_or_gone_is_no_error(lite: Api) -> None:
    large = b"\x89PNG" + bytes(LARGEST_PICTURE)
    model = trained(lite, samples=large, neighbours=png(8))
    gone = next(file for file in lite.get(f"/v1/models/{model}")["files"] if file["name"] == "neighbours.png")
    key = gone["url"].split("?")[0].split("/", 4)[4]
    lite.context.storage.client.delete_object(Bucket=lite.context.storage.bucket, Key=key)
    page = lite.http.get(f"/v1/models/{model}/report.html")
    assert page.status_code == 200
    assert "too large for this page" in page.text
    assert "<img" not in page.text


def test_a_stranger_sees_no_page_and_no_picture(lite: Api) -> None:
    model = trained(lite, samples=png(8))
    refused(lite.stranger().get(f"/v1/models/{model}/report.html"), 404, "not_found")
