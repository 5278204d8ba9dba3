"""
HTTP and WebSocket without I/O: bytes and ``now`` in, events and bytes out.

Nothing here sees sockets, event loops, clocks or shared memory; the front gives it those. Import from the modules:
``http``, ``handshake``, ``websocket``, ``deflate``, ``frames``.
"""
