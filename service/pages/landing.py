"""The page at `/` and the pages that a problem's `type` leads to. There is nothing of anybody's data on them."""

import re
from functools import cache

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from service import errors
from service.errors import NotFound

router = APIRouter(include_in_schema=False)
templates = Environment(loader=PackageLoader("service.pages"), autoescape=True, undefined=StrictUndefined)
CODE = re.compile(r"[a-z][a-z_]{1,63}")
OF_A_MODALITY = "This is about the data or the model itself; the answer's detail or the job's error says what to do."
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}


@cache
def sentences() -> dict[str, str]:
    """What each code means, in the words of the error that carries it."""
    found: dict[str, str] = {"internal_error": "Something went wrong on the server; its log has the request's id."}
    waiting = [errors.MintageError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "code" in vars(kind) and kind is not errors.MintageError:
            found[kind.code] = (kind.__doc__ or "").split("\n")[0].strip()
    found["method_not_allowed"] = "The address does not take this method."
    found["bad_request"] = "The request could not be read."
    found["empty_file"] = "The uploaded file is empty."
    return found


@router.get("/")
def landing(request: Request) -> HTMLResponse:
    page = templates.get_template("landing.html").render(base=str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers=HEADERS)


@router.get("/problems/{code}")
def problem(code: str) -> HTMLResponse:
    if not CODE.fullmatch(code):
        raise NotFound("There is no problem of this name.")
    title, sentence = code.replace("_", " ").capitalize(), sentences().get(code, OF_A_MODALITY)
    page = templates.get_template("problem.html").render(code=code, title=title, sentence=sentence)
    return HTMLResponse(page, headers=HEADERS)
