"""
The project, by Django's own test client: on the project itself, or on the server that SHELF_URL names.

Django's test runner runs it: ``django-admin test shelf``. The second client differs in one thing: instead of calling the project
it sends what it would have called it with over HTTP.
"""

import hashlib
import http.client
import os
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.test import Client, TransactionTestCase

URL = os.environ.get("SHELF_URL")


class OverHTTP:
    """A handler for Django's client: the environ it was called with, sent to the server."""

    def __call__(self, environ: dict[str, Any]) -> Any:
        assert URL is not None
        connection = http.client.HTTPConnection(URL.removeprefix("http://"), timeout=60)
        headers = {key[5:].replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_") and value}
        headers["Host"] = URL.removeprefix("http://")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length:
            headers.update({"Content-Type": environ["CONTENT_TYPE"], "Content-Length": str(length)})
        target = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else "")
        body = environ["wsgi.input"].read(length) if length else None
        connection.request(environ["REQUEST_METHOD"], target, body, headers)
        answer = connection.getresponse()
        response = HttpResponse(answer.read(), status=answer.status)
        for name, value in answer.getheaders():
            if name == "set-cookie":
                response.cookies.load(value)
            else:
                response[name] = value
        connection.close()
        response.url = answer.getheader("location")  # as those have that redirect
        response.wsgi_request = WSGIRequest(environ)
        return response


class ShelfTests(TransactionTestCase):  # type: ignore[misc]
    databases = set() if URL else {"default"}

    def setUp(self) -> None:
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        if URL:
            self.client.handler = OverHTTP()
        self.client.get("/")
        self.token = {"X-CSRFToken": self.client.cookies["csrftoken"].value}

    def test_the_page_is_there_with_its_static_file(self) -> None:
        self.assertContains(self.client.get("/"), "<h1>Shelf</h1>")
        self.assertContains(self.client.get("/", query_params={"q": "ü"}), "/static/shelf/shelf.css")

    def test_who_enters_has_a_session_and_a_cookie(self) -> None:
        response = self.client.post("/enter", {"name": "Ada Ü"}, headers=self.token)
        self.assertRedirects(response, "/", fetch_redirect_response=False)
        assert self.client.cookies["theme"].value == "dark & warm"
        assert self.client.cookies["sessionid"]["httponly"]
        self.assertContains(self.client.get("/"), '<p id="name">Ada Ü</p>')

    def test_redirections_are_followed(self) -> None:
        response = self.client.post("/enter", {"name": "Grace"}, headers=self.token, follow=True)
        assert response.redirect_chain == [("/", 302)]
        self.assertContains(response, "Grace")

    def test_forgery_is_refused(self) -> None:
        assert self.client.post("/enter", {"name": "Mallory"}).status_code == 403

    def test_a_file_is_put_there_and_taken_again(self) -> None:
        data = bytes(range(256)) * 12_000  # more than the front sends in one message
        file = SimpleUploadedFile("data.bin", data)
        response = self.client.post("/upload", {"file": file}, headers=self.token, follow=True)
        self.assertContains(response, hashlib.sha256(data).hexdigest())
        name = response.content.decode().partition('<p class="message">')[2].partition(":")[0]
        taken = self.client.get(f"/files/{name}")
        assert b"".join(taken) == data
        assert taken["Content-Disposition"] == f'attachment; filename="{name}"'
        assert taken["Content-Length"] == str(len(data))

    def test_a_stream_is_whole(self) -> None:
        rows = b"".join(self.client.get("/rows/100"))
        assert rows == b"".join(b"row %d\n" % number for number in range(100))

    def test_errors_are_those_of_the_project(self) -> None:
        assert self.client.get("/fail").status_code == 500
        assert self.client.get("/files/nowhere").status_code == 404
        assert self.client.get("/enter").status_code == 405
        assert self.client.post("/upload", headers=self.token).status_code == 400

    def test_head_has_the_length_and_no_content(self) -> None:
        response = self.client.head("/")
        assert (response.status_code, response.content) == (200, b"")
        assert int(response["Content-Length"]) > 100

    def test_the_admin_asks_who_it_is(self) -> None:
        response = self.client.get("/admin/", follow=True)
        assert response.redirect_chain == [("/admin/login/?next=/admin/", 302)]
        self.assertContains(response, "csrfmiddlewaretoken")
