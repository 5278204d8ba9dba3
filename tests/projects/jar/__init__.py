"""A Flask application that does what Flask applications do; tests serve it by ``shmchan run jar``, from the folder above."""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import flask

app = flask.Flask(__name__)
app.secret_key = "a key for tests"


@app.get("/")
def index() -> str:
    return f"<h1>Jar</h1><link rel=stylesheet href='{flask.url_for('static', filename='jar.css')}'>"


@app.get("/echo/<path:rest>")
def echo(rest: str) -> Any:
    environ = flask.request.environ
    server = {key: environ[key] for key in ("SCRIPT_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "wsgi.url_scheme")}
    return {"rest": rest, "args": flask.request.args.to_dict(flat=False), "url": flask.request.url, **server}


@app.post("/enter")
def enter() -> Any:
    flask.session["name"] = flask.request.form["name"]
    response = flask.redirect(flask.url_for("who"), code=303)
    response.set_cookie("theme", "dark & warm", max_age=60, samesite="Lax")
    return response


@app.get("/who")
def who() -> Any:
    return {"name": flask.session.get("name"), "theme": flask.request.cookies.get("theme")}


@app.post("/upload")
def upload() -> Any:
    file = flask.request.files["file"]
    data = file.read()
    return {
        "title": flask.request.form["title"],
        "name": file.filename,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


@app.put("/raw")
def raw() -> Any:
    digest, size = hashlib.sha256(), 0
    while piece := flask.request.stream.read(1 << 16):
        digest.update(piece)
        size += len(piece)
    return {"size": size, "sha256": digest.hexdigest()}


@app.get("/file/<int:size>")
def file(size: int) -> Any:
    data = bytes(index % 251 for index in range(size))
    return flask.send_file(io.BytesIO(data), "application/octet-stream", download_name="data.bin", conditional=True, etag="abc")


@app.get("/rows/<int:count>")
def rows(count: int) -> Any:
    def made() -> Iterator[str]:
        for number in range(count):
            yield f"row {number} of {flask.request.path}\n"

    return flask.Response(flask.stream_with_context(made()), mimetype="text/plain")


@app.get("/fail")
def fail() -> Any:
    raise ZeroDivisionError("the failure that was asked for")


@app.get("/fail-late")
def fail_late() -> Any:
    def made() -> Iterator[bytes]:
        yield b"some of it"
        raise ZeroDivisionError("the late failure that was asked for")

    return flask.Response(made())


@app.get("/killed")
def killed() -> Any:
    def made() -> Iterator[bytes]:
        yield b"some of it"
        os.kill(os.getpid(), 9)

    return flask.Response(made())


@app.errorhandler(404)
def missing(error: Exception) -> Any:
    return {"missing": flask.request.path}, 404
