"""The page: that of ``examples/board``, for whoever is logged in."""

from pathlib import Path
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import escape

PAGE = (Path(__file__).parents[2] / "board" / "page" / "index.html").read_text(encoding="utf-8")


@login_required  # type: ignore[untyped-decorator]
def board(request: Any) -> Any:
    """The page, with its files under STATIC_URL, its socket, and who is looking at it."""
    page = PAGE.replace('href="', f'href="{static("")}').replace('src="', f'src="{static("")}')
    who = f'data-socket="{escape(reverse("board"))}board/" data-me="{escape(request.user.get_username())}"'
    return HttpResponse(page.replace("<body", f"<body {who}", 1))
