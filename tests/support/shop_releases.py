"""A small shop in three releases, whose sessions have a schema; each runs under gunicorn."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from race_app import record

from wsgi_sessions import from_env
from wsgi_sessions.models import SessionModel, migration, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    Steps = dict[str, Callable[[Any, int], object]]


def names_to_wishes(data: MutableMapping[str, Any]) -> None:
    """From version 1: each name of `wishes` becomes a model in `wishlist`."""
    if "wishes" in data:
        amounts = data.pop("amounts", {})
        names = data.pop("wishes")
        data["wishlist"] = [{"name": name, "amount": amounts.get(name, 1)} for name in names]


def wishes_to_names(data: MutableMapping[str, Any]) -> None:
    """Back to version 1, which keeps `amounts` although it does not know it."""
    if "wishlist" in data:
        wishlist = data.pop("wishlist")
        data["wishes"] = [wish["name"] for wish in wishlist]
        several = [wish for wish in wishlist if wish.get("amount", 1) != 1]
        data["amounts"] = {wish["name"]: wish["amount"] for wish in several}


class Wish(SessionModel):
    name: str
    amount: int = 1


class ShopOfFirst(SessionModel, name="Shop"):
    """The first release's."""

    visits: int = 0
    wishes: list[str] = []


class ShopOfSecond(SessionModel, name="Shop", version=2):
    """The second release's, while workers of the first run."""

    visits: int = 0
    again: int = 0
    wishlist: list[Wish] = []

    forward = migration(from_=1)(names_to_wishes)
    back = migration(from_=2)(wishes_to_names)


class ShopOfThird(SessionModel, name="Shop", version=2):
    """The third release's: none of the first is left."""

    visits: int = 0
    again: int = 0
    wishlist: list[Wish] = []

    forward = migration(from_=1)(names_to_wishes)


FIRST: Steps = {
    "visit": lambda shop, item: setattr(shop, "visits", shop.visits + 1),
    "wish": lambda shop, item: shop.wishes.append(f"first {item}"),
    "more": lambda shop, item: None,
}
SECOND: Steps = {
    "visit": lambda shop, item: setattr(shop, "again", shop.again + 1),
    "wish": lambda shop, item: shop.wishlist.append(Wish(name=f"second {item}", amount=2)),
    "more": lambda shop, item: setattr(shop.wishlist[-1], "amount", 5) if shop.wishlist else None,
}
RELEASES: dict[int, tuple[Any, Steps]] = {
    1: (ShopOfFirst, FIRST),
    2: (ShopOfSecond, SECOND),
    3: (ShopOfThird, SECOND),
}


def seen(shop: Any) -> dict[str, Any]:
    """What a release shows of a session."""
    if isinstance(shop, ShopOfFirst):
        return {"visits": shop.visits, "names": [*shop.wishes]}
    return {
        "visits": shop.visits,
        "again": shop.again,
        "names": [wish.name for wish in shop.wishlist],
        "amounts": {wish.name: wish.amount for wish in shop.wishlist},
    }


def create(release: int) -> WSGIApplication:
    """The application of a release: ``/visit``, ``/wish``, ``/more`` and ``/``."""
    model, steps = RELEASES[release]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        shop = typed(environ, model)
        before = seen(shop)
        time.sleep(int(query.get("hold", 0)) / 1000)
        step = environ["PATH_INFO"].strip("/")
        if step:
            steps[step](shop, int(query["item"]))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"before": before, "after": seen(shop)}).encode()]

    return from_env(app, on_event=record)
