"""A shelf of books in the session, for members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.template import engines

if TYPE_CHECKING:
    from django.http import HttpRequest

PAGE = """
user={{ request.user.get_username }} cart={{ request.session.cart|join:"," }}
{% for message in messages %}flash={{ message }}
{% endfor %}
<form method="post">{% csrf_token %}{{ form }}</form>
"""


class ItemForm(forms.Form):  # type: ignore[misc]  # Django has no annotations
    item = forms.CharField()


@login_required  # type: ignore[untyped-decorator]
def shelf(request: HttpRequest) -> HttpResponse:
    """Show what is on the shelf, and put something there."""
    form = ItemForm(request.POST or None)
    if form.is_valid():
        item = form.cleaned_data["item"]
        request.session.setdefault("cart", []).append(item)
        request.session.modified = True  # as Django's own engines need it
        messages.success(request, f"put {item}")
        return HttpResponseRedirect("/")
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({"form": form}, request))
