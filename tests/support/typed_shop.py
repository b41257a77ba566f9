"""A session with a schema as an application uses it. For the type checkers alone: never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import field
from typing_extensions import assert_type

from wsgi_sessions.models import SessionModel, migration, typed

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions import Session


class TypedItem(SessionModel):
    name: str
    amount: int = 1


class TypedShop(SessionModel, version=2):
    visits: int = 0
    kind: Literal["tea", "milk"] = "tea"
    cart: list[TypedItem] = field(default_factory=list)
    best: TypedItem | None = None
    stored: bytes = field(default=b"", name="s")

    def total(self) -> int:
        return sum(item.amount for item in self.cart)

    @migration(from_=1)
    @staticmethod
    def rename(data: MutableMapping[str, Any]) -> None:
        data["cart"] = data.pop("basket", [])


def view(environ: WSGIEnvironment, session: Session) -> None:
    shop = typed(environ, TypedShop)
    assert_type(shop, TypedShop)
    assert_type(typed(session, TypedShop).cart, list[TypedItem])
    assert_type(shop.visits, int)
    shop.visits += 1
    shop.cart.append(TypedItem(name="tea"))
    shop.cart[0].amount += 1
    assert_type(shop.total(), int)
    shop.visits = "one"  # type: ignore[assignment]
    shop.kind = "coffee"  # type: ignore[assignment]
    shop.vists = 1  # type: ignore[attr-defined]  # misspelt
    shop.cart.append("tea")  # type: ignore[arg-type]
    TypedItem(amount=1)  # type: ignore[call-arg]  # the name is missing
    TypedItem("tea")  # type: ignore[call-arg]  # by keyword
    typed(environ, dict)  # type: ignore[type-var]  # no model
