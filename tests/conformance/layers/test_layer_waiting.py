"""Waiting for messages: by blocking, and on an event loop. Source: FEATURES 1; ASGI 1.0 draft, "receive"."""

import asyncio
import threading
from typing import Any

from shmchan.layers.base import BaseChannelLayer


def test_a_blocking_receive_gets_what_is_sent_later(layer: BaseChannelLayer) -> None:
    for channel, name in (("a", "a"), ("one?x", "one?x"), ("reply!", "reply!x")):
        found: list[Any] = []
        waiting = threading.Thread(
            target=lambda found=found, channel=channel: found.append(layer.receive([channel, "b"], block=True))
        )
        waiting.start()
        layer.send(name, {"n": 1})
        waiting.join(30.0)
        assert found == [(name, {"n": 1})]


def test_a_receive_with_a_timeout_ends_without_a_message_or_with_the_one_that_came(layer: BaseChannelLayer) -> None:
    assert layer.receive(["a"], block=True, timeout=0.0) == (None, None)
    assert layer.receive(["a"], block=True, timeout=0.01) == (None, None)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(layer.receive(["a"], block=True, timeout=30.0)))
    waiting.start()
    layer.send("a", {"n": 1})
    waiting.join(30.0)
    assert found == [("a", {"n": 1})]


def test_a_blocking_receive_returns_at_once_what_is_there(layer: BaseChannelLayer) -> None:
    layer.send("a", {"n": 1})
    assert layer.receive(["a"], block=True) == ("a", {"n": 1})


def test_each_of_many_blocked_receivers_gets_one_message(layer: BaseChannelLayer) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(layer.receive(["a"], block=True)[1])) for _ in range(5)]
    for thread in threads:
        thread.start()
    for number in range(5):
        layer.send("a", {"n": number})
    for thread in threads:
        thread.join(30.0)
    assert sorted(message["n"] for message in found) == list(range(5))


def test_an_async_receive_gets_what_is_there_and_what_is_sent_later(layer: BaseChannelLayer) -> None:
    async def main() -> list[Any]:
        layer.send("a", {"n": 1})
        first = await layer.receive_async(["a", "reply!"])
        waiting = asyncio.ensure_future(layer.receive_async(["a", "reply!"]))
        await asyncio.sleep(0)
        layer.send("reply!x", {"n": 2})
        return [first, await asyncio.wait_for(waiting, 30.0)]

    assert asyncio.run(main()) == [("a", {"n": 1}), ("reply!x", {"n": 2})]


def test_an_async_receive_is_woken_from_another_thread(layer: BaseChannelLayer) -> None:
    async def main() -> Any:
        waiting = asyncio.ensure_future(layer.receive_async(["a"]))
        await asyncio.sleep(0)
        sender = threading.Thread(target=layer.send, args=("a", {"n": 1}))
        sender.start()
        result = await asyncio.wait_for(waiting, 30.0)
        sender.join()
        return result

    assert asyncio.run(main()) == ("a", {"n": 1})


def test_a_cancelled_async_receive_has_taken_nothing(layer: BaseChannelLayer) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(layer.receive_async(["a"]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()

    asyncio.run(main())
    layer.send("a", {"n": 1})
    assert layer.receive(["a"]) == ("a", {"n": 1})


def test_many_async_receivers_share_a_loop_and_each_gets_one_message(layer: BaseChannelLayer) -> None:
    async def main() -> list[Any]:
        waiting = [asyncio.ensure_future(layer.receive_async(["a"])) for _ in range(10)]
        await asyncio.sleep(0.01)
        for number in range(10):
            layer.send("a", {"n": number})
        return await asyncio.wait_for(asyncio.gather(*waiting), 30.0)

    assert sorted(message["n"] for _, message in asyncio.run(main())) == list(range(10))


def test_a_channel_that_was_forgotten_can_be_received_on_again(layer: BaseChannelLayer) -> None:
    layer.forget("one?x")
    for number in range(200):
        layer.send("one?x", {"n": number})
        assert layer.receive(["one?x"]) == ("one?x", {"n": number})
        layer.forget("one?x")
    assert layer.receive(["one?x"]) == (None, None)
