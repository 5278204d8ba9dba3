"""Pages with what people put on the shelf."""

import hashlib
from collections.abc import Iterator
from typing import Any

from django.contrib import messages
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponseBadRequest, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST


def index(request: Any) -> Any:
    files = default_storage.listdir("")[1] if default_storage.exists("") else []
    return render(request, "shelf.html", {"name": request.session.get("name"), "files": sorted(files)})


@require_POST  # type: ignore[untyped-decorator]
def enter(request: Any) -> Any:
    request.session["name"] = request.POST["name"]
    response = redirect("index")
    response.set_cookie("theme", "dark & warm", max_age=60, samesite="Lax")
    return response


@require_POST  # type: ignore[untyped-decorator]
def upload(request: Any) -> Any:
    file = request.FILES.get("file")
    if file is None:
        return HttpResponseBadRequest("no file")
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    name = default_storage.save(file.name, file)
    messages.success(request, f"{name}: {file.size} bytes, {digest.hexdigest()}")
    return redirect("index")


def download(request: Any, name: str) -> Any:
    if not default_storage.exists(name):
        raise Http404(name)
    return FileResponse(default_storage.open(name), as_attachment=True, filename=name)


def rows(request: Any, count: int) -> Any:
    return StreamingHttpResponse((f"row {number}\n" for number in range(count)), content_type="text/plain")


def fail(request: Any) -> Any:
    raise ZeroDivisionError("the failure that was asked for")


def fail_late(request: Any) -> Any:
    def made() -> Iterator[bytes]:
        yield b"some of it"
        raise ZeroDivisionError("the late failure that was asked for")

    return StreamingHttpResponse(made())
