"""/docs: every call, to read and to try out in a browser. Its files come from this server: it needs no internet."""

from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from service.errors import NotFound

router = APIRouter(include_in_schema=False)
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
ONLY_OURS = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)


@router.get("/docs")
def reference(request: Request) -> HTMLResponse:
    root = request.scope.get("root_path", "").rstrip("/")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Mintage API",
        swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True},
    )
    page.headers["Content-Security-Policy"] = ONLY_OURS
    return page


@router.get("/docs/{name}")
def file(name: str) -> Response:
    """Swagger UI as the package fastapi-offline brings it, at the version that constraints.txt pins."""
    if name not in FILES:
        raise NotFound("There is no such file.")
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=FILES[name], headers={"Cache-Control": "max-age=3600"})
