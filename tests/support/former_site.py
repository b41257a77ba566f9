"""A shop as people write one: a factory, a blueprint, Flask-Session, Flask-Login and Flask-WTF.

The two lines that mention Flask-Session are all that a move to this package changes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import flask_login
import redis
from cachelib.file import FileSystemCache
from flask import (
    Blueprint,
    Flask,
    flash,
    redirect,
    render_template_string,
    request,
    session,
    url_for,
)
from flask_session import Session as ServerSideSessions
from flask_wtf import FlaskForm
from flask_wtf.csrf import CSRFProtect
from wtforms import StringField, SubmitField
from wtforms.validators import DataRequired

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

PAGE = """
user={{ current_user.get_id() }} cart={{ session.get("cart", []) | join(",") }}
{% for category, text in get_flashed_messages(with_categories=true) %}flash={{ text }}{% endfor %}
<form method="post">{{ form.hidden_tag() }} {{ form.item() }} {{ form.put() }}</form>
{% for error in form.errors.values() %}error={{ error[0] }}{% endfor %}
"""
shop = Blueprint("shop", __name__)
logins = flask_login.LoginManager()
csrf = CSRFProtect()


class FormerUser(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login is untyped
    def __init__(self, name: str) -> None:
        self.id = name


class Item(FlaskForm):  # type: ignore[misc]  # Flask-WTF is untyped
    item = StringField(validators=[DataRequired()])
    put = SubmitField()


class Login(FlaskForm):  # type: ignore[misc]  # Flask-WTF is untyped
    item = StringField("name", validators=[DataRequired()])
    put = SubmitField()


@shop.route("/", methods=["GET", "POST"])
@flask_login.login_required  # type: ignore[untyped-decorator]
def cart() -> str | Response:
    form = Item()
    if form.validate_on_submit():
        session.setdefault("cart", []).append(form.item.data)
        session.modified = True
        flash(f"put {form.item.data}")
        return redirect(url_for("shop.cart"))
    return render_template_string(PAGE, form=form)


@shop.route("/login", methods=["GET", "POST"])
def login() -> str | Response:
    form = Login()
    if form.validate_on_submit():
        flask_login.login_user(FormerUser(form.item.data), remember="remember" in request.args)
        flash(f"welcome {form.item.data}")
        return redirect(url_for("shop.cart"))
    return render_template_string(PAGE, form=form)


@shop.post("/logout")
def logout() -> Response:
    flask_login.logout_user()
    return redirect(url_for("shop.login"))


def settings() -> dict[str, Any]:
    """As operators give them: in the environment."""
    given: dict[str, Any] = {"SECRET_KEY": os.environ["SHOP_SECRET"]}
    if "SHOP_REDIS" in os.environ:
        given["SESSION_TYPE"] = "redis"
        given["SESSION_REDIS"] = redis.Redis.from_url(os.environ["SHOP_REDIS"])
    else:
        given["SESSION_TYPE"] = "cachelib"
        given["SESSION_CACHELIB"] = FileSystemCache(os.environ["SHOP_FOLDER"], threshold=500)
    return given


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(settings())
    ServerSideSessions(app)
    logins.init_app(app)
    logins.login_view = "shop.login"
    logins.user_loader(FormerUser)
    csrf.init_app(app)
    app.register_blueprint(shop)
    return app
