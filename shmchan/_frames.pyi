"""The part of the cffi module that shmchan/protocol/frames.py uses; csrc/frames/wsframe.h is the manual."""

from typing import Any

class _Library:
    SHMC_WS_OK: int
    SHMC_WS_E_RSV: int
    SHMC_WS_E_OPCODE: int
    SHMC_WS_E_CONTROL_FRAGMENTED: int
    SHMC_WS_E_NO_MESSAGE: int
    SHMC_WS_E_IN_MESSAGE: int
    SHMC_WS_E_MASK: int
    SHMC_WS_E_CONTROL_LENGTH: int
    SHMC_WS_E_LENGTH: int
    SHMC_WS_E_UTF8: int
    SHMC_WS_E_TOO_BIG: int
    SHMC_WS_E_FRAGMENTS: int
    SHMC_WS_E_CALLER: int
    SHMC_WS_BATCH_RECORDS: int
    SHMC_WS_BATCH_INPUT_BYTES: int
    SHMC_WS_BATCH_OUT_BYTES: int
    SHMC_WS_HEADER_BYTES: int
    SHMC_WS_CONTROL_BYTES: int
    SHMC_WS_END: int
    SHMC_WS_COMPRESSED: int
    def shmc_ws_parser_init(
        self, parser: Any, max_message_bytes: int, max_compressed_bytes: int, max_fragments: int, /
    ) -> None: ...
    def shmc_ws_parser_fail(self, parser: Any, /) -> None: ...
    def shmc_ws_parse(self, parser: Any, data: Any, start: int, length: int, batch: Any, /) -> int: ...
    def shmc_ws_header(self, out: Any, first: int, payload_bytes: int, /) -> int: ...
    def shmc_ws_unmask(self, out: Any, data: Any, length: int, mask: Any, phase: int, /) -> int: ...
    def shmc_utf8_feed(self, state: Any, data: Any, length: int, /) -> int: ...

class _FFI:
    def new(self, declaration: str, initializer: Any = ..., /) -> Any: ...
    def buffer(self, data: Any, size: int = ..., /) -> Any: ...
    def from_buffer(self, declaration: str, data: Any, /) -> Any: ...

ffi: _FFI
lib: _Library
