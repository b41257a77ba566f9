"""The pages of the site."""

from django.contrib import admin
from django.urls import include, path

from club import views

urlpatterns = [
    path("", views.shelf, name="shelf"),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
]
