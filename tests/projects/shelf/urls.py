"""What is where."""

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("enter", views.enter, name="enter"),
    path("upload", views.upload, name="upload"),
    path("files/<str:name>", views.download, name="download"),
    path("rows/<int:count>", views.rows, name="rows"),
    path("fail", views.fail, name="fail"),
    path("fail-late", views.fail_late, name="fail-late"),
    path("admin/", admin.site.urls),
]
