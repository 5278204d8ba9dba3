"""Response: how it becomes a message."""

from typing import Any

import pytest

from shmchan.http import Response


def test_a_response_becomes_a_message() -> None:
    response = Response("ü", 201, [("X-A", "b"), (b"x-c", b"d")])
    assert response.message() == {
        "status": 201,
        "headers": [[b"X-A", b"b"], [b"x-c", b"d"]],
        "content": "ü".encode(),
        "more_content": False,
    }


@pytest.mark.parametrize("wrong", [{"content": 5}, {"status": "200"}, {"status": 99}, {"headers": [(1, "x")]}])
def test_wrong_types_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Response(**wrong)
