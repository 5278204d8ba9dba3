"""A front that stops while an answer is awaited that was promised: nobody runs the request, and yet it was not put back."""

from collections.abc import Collection

import pytest

from .harness import Server

pytestmark = pytest.mark.usefixtures("layer_kind")


def test_a_promised_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(tick=0.001) as server, server.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        (message,) = server.take("http.request")
        looks: list[bool] = []
        ask = server.layer.is_resting

        def is_resting(channels: Collection[str]) -> bool:
            looks.append(ask(channels))
            return looks[-1]

        monkeypatch.setattr(server.layer, "is_resting", is_resting)
        server.front.stop_threadsafe()
        server.wait_for(lambda: len(looks) >= 5)
        server.layer.send(message["reply_channel"], {"status": 200, "headers": [], "content": b"at last"})
        answer = client.response()
        assert (answer.status, answer.body) == (200, b"at last")
        server.join()
        assert server.exit_code == 0
