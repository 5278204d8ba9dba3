"""
Sessions that are their own key: signed, and kept by the browser.

Owns the signature, by itsdangerous. Nothing is stored here, so nothing can be taken back: what was signed is valid until it
expires, also after a logout. The browser can read it. Workers and WSGI applications run it.
"""

from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

LONGEST = 3800  # bytes; browsers keep cookies of 4096 with their names and attributes
_SHORTEST_SECRET = 16


class SignedEngine:
    """
    Signs sessions.

    Args:
        secret: what with; at least 16 characters, the same in every process, and told to nobody.
        max_age: seconds that a session lives after it was signed.

    Raises:
        ValueError: the secret is too short.
    """

    def __init__(self, secret: str, max_age: float) -> None:
        if len(secret) < _SHORTEST_SECRET:
            raise ValueError(
                f"signed cookies need a secret of at least {_SHORTEST_SECRET} characters; set SHMCHAN_SECRET, or pass secret="
            )
        self.max_age = max_age
        self._serializer = URLSafeTimedSerializer(secret, salt="shmchan.sessions")

    def load(self, key: str) -> dict[str, Any] | None:
        try:
            content = self._serializer.loads(key, max_age=int(self.max_age))
        except BadData:  # forged, damaged or expired: to us it is nobody's
            return None
        return content if isinstance(content, dict) else None

    def save(self, key: str | None, content: dict[str, Any]) -> str:
        signed = self._serializer.dumps(content)
        text = signed.decode() if isinstance(signed, bytes) else signed
        if len(text) > LONGEST:
            raise ValueError(f"the session has {len(text)} bytes when signed, a cookie holds {LONGEST}; keep less, or use sqlite")
        return text

    def delete(self, key: str) -> None:
        """Nothing: the browser is told to forget it, and it expires."""
