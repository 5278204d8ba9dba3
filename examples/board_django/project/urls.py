"""What is where: the board, the login, the admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("cards.urls")),
    path("", include("django.contrib.auth.urls")),
    path("admin/", admin.site.urls),
]
