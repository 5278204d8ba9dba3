"""The board is at the root."""

from django.urls import path

from .views import board

urlpatterns = [path("", board, name="board")]
