"""One Flask application for the tests: users log in by Flask-Login, and fill a cart.

What keeps its sessions is named by its configuration (`SESSIONS`), and nothing in it knows which.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import flask_login
import race_app
from flask import (
    Blueprint,
    Flask,
    flash,
    get_flashed_messages,
    jsonify,
    redirect,
    request,
    session,
)
from werkzeug.utils import import_string

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

shop = Blueprint("shop", __name__)


class User(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login is untyped
    def __init__(self, name: str) -> None:
        self.id = name


@shop.get("/login/<name>")
def login(name: str) -> ResponseReturnValue:
    flask_login.login_user(User(name), remember="remember" in request.args)
    flash(f"Welcome, {name}", "info")
    return redirect("/me")


@shop.get("/logout")
def logout() -> ResponseReturnValue:
    flask_login.logout_user()
    return redirect("/me")


@shop.get("/me")
def me() -> ResponseReturnValue:
    user = flask_login.current_user
    return jsonify(
        user=user.get_id(), flashes=get_flashed_messages(with_categories=True), pid=os.getpid()
    )


@shop.get("/private")
@flask_login.login_required  # type: ignore[untyped-decorator]
def private() -> ResponseReturnValue:
    return jsonify(cart=session.get("cart", []), prices=session.get("prices", {}))


@shop.get("/put/<item>")
def put(item: str) -> ResponseReturnValue:
    """A list and a mapping, changed in place, while other requests may do the same."""
    cart, prices = session.setdefault("cart", []), session.setdefault("prices", {})
    if "gate" in request.args:
        race_app.pass_gate(request.args["gate"], int(request.args["number"]))
    cart.append(item)
    prices[item] = len(item)
    session.modified = True  # which other packages need
    return "ok"


def create(**config: Any) -> Flask:
    """The application; `config` is as it would be in a file."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(config)
    import_string(app.config["SESSIONS"])(app)
    users = flask_login.LoginManager(app)
    users.user_loader(User)
    app.register_blueprint(shop)
    return app
