"""A request that is answered later, by another consumer in another process, while its own worker does other things."""

import http.client
import json
import threading
from pathlib import Path

import pytest

from shmchan import Group
from shmchan.layers import ShmChannelLayer
from tests.servers import WATCHDOG, Server, StartServer, wait_for

POLL = """
import os

from shmchan import Channel, Group, route
from shmchan.exceptions import ResponseLater
from shmchan.http import Request, Response

def wait(message):
    Group("waiting").add(message.reply_channel)
    raise ResponseLater

def publish(message):
    request = Request(message)
    Channel("news").send({"text": request.form["text"], "from": os.getpid()})
    return Response("told", 202)

def tell(message):
    response = Response.json({"text": message["text"], "from": message["from"], "by": os.getpid()})
    response.set_cookie("seen", "1")
    Group("waiting").send(response.message())

def leave(message):
    Group("waiting").discard(message.reply_channel)

routing = [
    route("http.request", wait, path="^/wait$"),
    route("http.request", publish, path="^/publish$", method="^POST$"),
    route("http.disconnect", leave, path="^/wait$"),
    route("news", tell),
]
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ask(server: Server, method: str, path: str, body: str | None = None) -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
    try:
        connection.request(method, path, body, FORM if body else {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers["set-cookie"]
    finally:
        connection.close()


def waiting(server: Server) -> int:
    with ShmChannelLayer.attach(server.name) as layer:
        return len(layer.group_channels("waiting"))


@pytest.fixture
def poll(server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "poll.py").write_text(POLL)
    return server("--workers", "2", app="poll")


def test_requests_wait_for_the_answer_of_another_consumer(poll: Server) -> None:
    answers: list[tuple[int, bytes, str | None]] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(poll, "GET", "/wait"))) for _ in range(5)]
    for client in clients:
        client.start()
    wait_for("five to wait", lambda: waiting(poll) == 5, poll.log)
    assert answers == []
    assert ask(poll, "POST", "/publish", "text=news+%C3%BC")[:2] == (202, b"told")  # two workers, five that wait: none is kept
    for client in clients:
        client.join(WATCHDOG)
    assert [status for status, _, _ in answers] == [200] * 5
    assert {json.loads(body)["text"] for _, body, _ in answers} == {"news ü"}
    assert {cookie for _, _, cookie in answers} == {"seen=1; Path=/"}
    wait_for("nobody to wait", lambda: waiting(poll) == 0, poll.log)


def test_any_process_may_answer(poll: Server) -> None:
    answers: list[tuple[int, bytes, str | None]] = []
    client = threading.Thread(target=lambda: answers.append(ask(poll, "GET", "/wait")))
    client.start()
    wait_for("one to wait", lambda: waiting(poll) == 1, poll.log)
    with ShmChannelLayer.attach(poll.name) as layer:
        Group("waiting", channel_layer=layer).send({"status": 200, "headers": [], "content": b"from outside"})
    client.join(WATCHDOG)
    assert answers == [(200, b"from outside", None)]


def test_who_does_not_wait_any_longer_leaves_the_group(poll: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", poll.port, timeout=WATCHDOG)
    connection.request("GET", "/wait")
    wait_for("one to wait", lambda: waiting(poll) == 1, poll.log)
    connection.close()
    wait_for("nobody to wait", lambda: waiting(poll) == 0, poll.log)
