"""
HTTP: the login, the logout and the files of the page.

Owns the cookie, and the token that every form carries: it is in the session, so that no other site can know it. Only the files
named here are ever read, once, when a worker imports this. The workers run it.
"""

import hmac
import secrets
from html import escape
from pathlib import Path
from string import Template

from werkzeug.exceptions import RequestEntityTooLarge

from shmchan import Message
from shmchan.auth import http_session_user, login, logout
from shmchan.http import Request, Response
from shmchan.sessions import SessionStore
from shmchan.sessions.store import settings

from . import users
from .rooms import connections_of

FOLDER = Path(__file__).parent / "page"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FILES = {path.name: (path.read_bytes(), KINDS[path.suffix]) for path in FOLDER.iterdir() if path.suffix in KINDS}
PAGES = {name: Template((FOLDER / f"{name}.html").read_text(encoding="utf-8")) for name in ("home", "login", "problem")}
LOGGED_OUT = 4001  # the code that connections are closed with
SAFETY = [
    (
        "content-security-policy",
        "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
]
TOKEN = "csrf"


class Form(Request):
    """A request with a small form."""

    max_content_length = 20_000


class BadForm(Exception):
    """A form that is not ours. Its text is for people."""


@http_session_user
def home(message: Message) -> Response:
    """The chat; for those who are not logged in the way to the login."""
    if not message.user.is_authenticated:
        return go_to("/login")
    return page("home", token=token_of(message.http_session), name=message.user.name)


@http_session_user
def show_login(message: Message) -> Response:
    """The form. It makes a session if there is none, for the token."""
    if message.user.is_authenticated:
        return go_to("/")
    session = SessionStore() if message.http_session is None else message.http_session
    return login_page(message, session)


@http_session_user
def log_in(message: Message) -> Response:
    """The form was sent. Who logs in gets a new session key, so that one that somebody planted before is worth nothing."""
    session = message.http_session
    try:
        form = checked_form(message, session)
    except BadForm as error:
        return page("problem", 403, text=str(error))
    user = users.authenticate(form.get("name", ""), form.get("password", ""))
    if user is None:
        return login_page(message, session, 403, "This name and this password do not belong together.", form.get("name", ""))
    session.pop(TOKEN)
    login(session, user.id)
    return with_cookie(message, session, go_to("/"))


@http_session_user
def log_out(message: Message) -> Response:
    """End the session, and the connections of this browser."""
    session = message.http_session
    if not message.user.is_authenticated:
        return go_to("/login")
    try:
        checked_form(message, session)
    except BadForm as error:
        return page("problem", 403, text=str(error))
    connections_of(session.session_key).send({"close": LOGGED_OUT, "reason": "logged out"})
    logout(session)
    return with_cookie(message, session, go_to("/login"))


def file(message: Message, name: str) -> Response:
    """A script, a style or a picture of the page."""
    if name not in FILES:
        return page("problem", 404, text="There is nothing here.")
    content, kind = FILES[name]
    return Response(content, headers=[("content-type", kind), ("cache-control", "no-cache"), *SAFETY])


def refuse(message: Message) -> Response:
    """A method that is not for this path."""
    response = page("problem", 405, text="This page does not take that.")
    response.headers.append([b"allow", b"POST" if message["path"] == "/logout" else b"GET, HEAD, POST"])
    return response


# --- forms


def token_of(session: SessionStore) -> str:
    """What forms of this session must carry."""
    if TOKEN not in session:
        session[TOKEN] = secrets.token_urlsafe(24)
        session.save()
    token: str = session[TOKEN]
    return token


def checked_form(message: Message, session: SessionStore | None) -> dict[str, str]:
    """
    The fields of a form of ours.

    Raises:
        BadForm: it is none, too long, or without the token of its session.
    """
    try:
        form = Form(message).form
    except RequestEntityTooLarge:
        raise BadForm("This form is too long.") from None
    expected = None if session is None else session.get(TOKEN)
    if expected is None or not hmac.compare_digest(form.get(TOKEN, "").encode(), expected.encode()):
        raise BadForm("This form has expired, or it was not from here. Open the page again, and try once more.")
    return form.to_dict()


# --- answers


def login_page(message: Message, session: SessionStore, status: int = 200, error: str = "", name: str = "") -> Response:
    """The form, with what was wrong."""
    token = token_of(session)
    demos = "".join(
        DEMO.substitute(name=escape(who), password=escape(password), kind="staff" if staff else "guest")
        for who, password, staff in users.demo_users()
    )
    response = page("login", status, safe={"demos": demos}, token=token, error=error, name=name)
    return with_cookie(message, session, response)


DEMO = Template(
    '<li><button type="button" class="demo" data-name="$name" data-password="$password">'
    "<b>$name</b> <code>$password</code> <i>$kind</i></button></li>"
)


def page(name: str, /, status: int = 200, safe: dict[str, str] | None = None, **values: str) -> Response:
    """A page, with its values escaped but for the ``safe`` ones."""
    text = PAGES[name].substitute({key: escape(value) for key, value in values.items()}, **(safe or {}))
    headers = [("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store"), *SAFETY]
    return Response(text, status, headers)


def go_to(path: str) -> Response:
    return Response.redirect(path, 303, [("cache-control", "no-store"), *SAFETY])


def with_cookie(message: Message, session: SessionStore, response: Response) -> Response:
    """Tell the browser its session's key, or to forget it."""
    secure = message["scheme"] == "https"
    age = int(session.engine.max_age) if session.session_key else 0
    response.set_cookie(
        settings.cookie_name, session.session_key or "", max_age=age, secure=secure, httponly=True, samesite="Lax"
    )
    return response
