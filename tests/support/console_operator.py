"""An operator with a browser, in front of the console over a backend."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from overlapping import SECRET
from werkzeug.test import Client

from wsgi_sessions import Config
from wsgi_sessions.console.admission import Admission, new_token
from wsgi_sessions.console.app import Console
from wsgi_sessions.console.revoking import Revoker
from wsgi_sessions.console.view import View

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from wsgi_sessions.contract import Backend

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e\"&{0}"
PATHS = [
    *("/", "/console/", "/console/board", "/console/user?principal=ada"),
    "/console/static/style.css",
]


class Operator:
    """A console over a backend, and the browser of its operator, who has followed the URL."""

    def __init__(self, backend: Backend, *, may_revoke: bool = False) -> None:
        self.config = Config(url="memory://", secret_keys=(SECRET,))
        self.view = View(backend, self.config)
        self.token = new_token()
        self.admission = Admission(self.token)
        revoker = Revoker(self.config, lambda: backend, "console by root") if may_revoke else None
        self.console = Console(self.view, self.admission, revoker)
        self.client = Client(self.console)
        self.client.get(f"/console/?token={self.token}")

    def page(self, path: str = "/console/") -> str:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.text

    def panel(self, name: str) -> str:
        """One panel of the page, without its tags."""
        found = re.search(rf'<section class="card" id="{name}".*?</section>', self.page(), re.S)
        assert found
        return " ".join(re.sub(r"<[^>]*>", " ", found[0]).split())

    def revoke(self, **form: str) -> TestResponse:
        return self.client.post("/console/revoke", data=form)
