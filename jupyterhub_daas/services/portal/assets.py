"""Our static files: portal and hub serve each their own, so that neither needs the other to look right."""

from pathlib import Path

from tornado import web

STATIC_PATH = Path(__file__).resolve().parents[2] / "static"
NAME = r"([a-z0-9.-]+)"


class StaticHandler(web.StaticFileHandler):
    """Serve our static files; an address with its version may be kept for ever."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")


HANDLERS = [(f"/daas/static/{NAME}", StaticHandler, {"path": str(STATIC_PATH)})]
