"""Page `/docs`: Swagger UI from files of an installed package, so that the browser needs no other server."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Labelwright gateway</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'
# Swagger UI sets styles on its elements, and its icons are data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """Return the script that fills the page. It is a file, because the policy forbids scripts inside the page."""
    return Response(START, media_type="text/javascript")


def install(app: FastAPI) -> None:
    """Add the page and its files."""
    app.include_router(router)
    app.mount("/docs/files", StaticFiles(directory=str(resources.files("fastapi_offline") / "static")))
