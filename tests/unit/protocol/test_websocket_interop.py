"""Our connection and the websockets library's, byte by byte against each other, without I/O."""

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from shmchan.protocol.deflate import negotiate
from shmchan.protocol.handshake import accept_response, check_request
from shmchan.protocol.websocket import BytesReceived, Closed, TextReceived, WebSocketConnection

MESSAGES = st.lists(st.one_of(st.text(max_size=400), st.binary(max_size=400)), max_size=6)


def shake_hands(compress: bool) -> tuple[ClientProtocol, WebSocketConnection]:
    factories = [ClientPerMessageDeflateFactory(client_max_window_bits=True)] if compress else None
    client = ClientProtocol(parse_uri("ws://127.0.0.1/"), extensions=factories)
    client.send_request(client.connect())
    head = b"".join(client.data_to_send()).split(b"\r\n\r\n")[0]
    lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    handshake = check_request([(name.lower(), value) for name, value in lines])
    deflate = negotiate(handshake.extensions, minimum_size=20)
    assert (deflate is not None) == compress
    client.receive_data(accept_response(handshake, deflate=deflate))
    client.events_received()
    assert client.handshake_exc is None
    return client, WebSocketConnection(now=0.0, deflate=deflate)


def messages_of(frames: list[object]) -> list[str | bytes]:
    """Those that the client received; the server does not fragment."""
    found: list[str | bytes] = []
    for frame in frames:
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.TEXT:
            found.append(bytes(frame.data).decode())
        elif frame.opcode is Opcode.BINARY:
            found.append(bytes(frame.data))
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES, MESSAGES, st.booleans(), st.integers(1, 200), st.integers(1, 500))
def test_messages_pass_both_ways_in_fragments_and_compressed(
    up: list[str | bytes], down: list[str | bytes], compress: bool, fragment: int, step: int
) -> None:
    client, server = shake_hands(compress)
    for message in up:
        data = message.encode() if isinstance(message, str) else message
        pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)] or [b""]
        first = client.send_text if isinstance(message, str) else client.send_binary
        first(pieces[0], fin=len(pieces) == 1)
        for index, piece in enumerate(pieces[1:], 2):
            client.send_continuation(piece, fin=index == len(pieces))
    client.send_ping(b"are you there")
    stream = b"".join(client.data_to_send())
    for at in range(0, len(stream), step):
        server.receive_data(stream[at : at + step], 1.0)
    received = [event.text if isinstance(event, TextReceived) else event.data for event in messages(server)]
    assert received == up

    for message in down:
        assert server.send_text(message) if isinstance(message, str) else server.send_bytes(message)
    stream = server.data_to_send()
    for at in range(0, len(stream), step):
        client.receive_data(stream[at : at + step])
    assert messages_of(list(client.events_received())) == down

    server.close(4001, "grüß dich", now=2.0)
    client.receive_data(server.data_to_send())
    assert client.parser_exc is None
    server.receive_data(b"".join(client.data_to_send()), 3.0)
    assert server.events() == [Closed(4001, "grüß dich")]
    assert server.finished
    client.receive_eof()
    assert (client.close_code, client.close_reason) == (4001, "grüß dich")


def messages(server: WebSocketConnection) -> list[TextReceived | BytesReceived]:
    events = server.events()
    assert not any(isinstance(event, Closed) for event in events)
    return [event for event in events if not isinstance(event, Closed)]
