"""
The delay process's work: taking in what is to wait, handing over what is due, answering questions.

Owns the order of these steps, and what is in hand between two of them. It never decides when something is due (`heap`,
`schedule`) and keeps nothing that a death would lose: docs/delay.md follows a message through it. One thread runs it.
"""

import contextlib
import logging
import os
import secrets
import time
from dataclasses import astuple

import msgspec

from shmchan.delay.api import Scheduled
from shmchan.delay.clock import Clocks, Source, SystemSource
from shmchan.delay.heap import STEADY, WALL, Heap, NewRow, Row
from shmchan.delay.order import BadMessage, Order, parse
from shmchan.delay.schedule import SECOND, cron_after, local_zone
from shmchan.exceptions import HeapBlocked
from shmchan.layers import wire
from shmchan.layers.base import DEAD_CHANNEL, Message
from shmchan.layers.delay_port import DelayPort, Incoming, Outcome

IN_HAND = 1024
"""Messages that one transaction takes in at most."""

PATIENCE = 3600 * SECOND
"""How long a message is tried whose channel is full; then it is a dead letter."""

LONGEST_BACKOFF = 60 * SECOND
RETRY_SECONDS = 1.0
NOTABLE_JUMP = SECOND
PAGE_ROWS, PAGE_BYTES = 500, 256 << 10
PURGE_ROWS = 5000
log = logging.getLogger("shmchan.delay")


class Service:
    """
    The delay process of one layer.

    Args:
        heap: what waits.
        port: where it comes from and goes to.
        source: of the time.
    """

    def __init__(self, heap: Heap, port: DelayPort, source: Source | None = None) -> None:
        self.heap = heap
        self.port = port
        self.stopping = False
        self._hand: list[Incoming] = []
        self._outcome: tuple[int, dict[int, int], int, int] | None = None
        self._blocked = ""
        self._wake_fd, self._stop_fd = os.pipe()
        os.set_blocking(self._stop_fd, False)
        boot_id, offset, skew = heap.state("boot_id"), heap.state("offset"), heap.state("skew")
        known = None if boot_id is None else str(boot_id)
        self.clocks = Clocks(source or SystemSource(), known, int(offset or 0), int(skew or 0))

    def start(self) -> None:
        """
        Settle what a death left: of an open batch, what the segment has noted was handed over.

        Raises:
            HeapBlocked, HeapError.
        """
        with self.heap.transaction():
            self.heap.keep(boot_id=self.clocks.boot_id, offset=self.clocks.offset, skew=self.clocks.skew)
        number = self.heap.open_batch_number()
        if number:
            self.heap.settle(self.port.noted(number), *self.clocks.now())

    def run(self) -> None:
        """
        Work until `stop`, then take in what is there and return.

        Raises:
            HeapError: the file cannot be used any more.
            ShmchanError: the layer cannot.
        """
        while True:
            try:
                busy = self.step()
                if self._blocked:
                    log.info("delayed messages are stored again")
                    self._blocked = ""
                if self.stopping and not busy:
                    return
                if not busy:
                    self.wait()
            except HeapBlocked as error:
                if self._blocked != error.reason:
                    log.error("%s; trying again every second", error)
                self._blocked = error.reason
                if self.stopping:
                    return
                self.clocks.wait([self._wake_fd], None, None, RETRY_SECONDS)

    def stop(self) -> None:
        """Have `run` return; any thread and any signal handler may call it."""
        self.stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._stop_fd, b"x")

    def close(self) -> None:
        """Give up what it has open. The heap and the port are the caller's."""
        self.clocks.source.close()
        os.close(self._wake_fd)
        os.close(self._stop_fd)

    def step(self) -> bool:
        """
        Take in what came and hand over what is due; whether there was any of it. When it is stopping it only takes in.

        Raises:
            HeapBlocked: later; nothing is lost.
            HeapError, ShmchanError.
        """
        self._look_at_clock()
        taken = self.take_in()
        if self.stopping:
            return taken
        sorted_ = self.heap.sort(*self.clocks.now())
        return self.hand_over() or taken or sorted_

    def wait(self) -> None:
        """Sleep until the next one is due, a message comes, the clock is set, or `stop`."""
        if not self.port.arm():
            self.clocks.wait([self.port.fileno(), self._wake_fd], self.heap.next_due(WALL), self.heap.next_due(STEADY))

    def _look_at_clock(self) -> None:
        jump = self.clocks.jump()
        if abs(jump) * 10 < NOTABLE_JUMP:
            return
        if abs(jump) >= NOTABLE_JUMP:
            way = "forwards" if jump > 0 else "backwards"
            seconds = abs(jump) / SECOND
            log.warning("the clock was set %s by %.1f s; `at` and cron go by it, `delay` and periods do not", way, seconds)
        with self.heap.transaction():
            self.heap.keep(skew=self.clocks.skew - jump)
        self.clocks.skew -= jump

    # --- in

    def take_in(self) -> bool:
        """Store what came, in one transaction, then let go of it; whether there was any."""
        if not self._hand:
            self._hand = self.port.take(IN_HAND)
        if not self._hand:
            return False
        hand, epoch = self._hand, self.port.epoch
        stored = self.heap.taken_until(epoch)
        rows: list[NewRow] = []
        bad: list[tuple[Incoming, BadMessage]] = []
        replies: list[tuple[str, Message]] = []
        wall, steady = self.clocks.now()
        now_ns = time.monotonic_ns()
        with self.heap.transaction(durable=True):
            self.heap.forget_answers(hand[0].number)
            for one in hand:
                try:
                    order = parse(one.payload)
                except BadMessage as error:
                    bad.append((one, error))
                    continue
                if order.request is not None:
                    self._insert(rows)  # what came before it
                    rows = []
                    answer = self._serve(order, one.number, one.number <= stored)
                    if order.reply_channel is not None:
                        replies.append((order.reply_channel, {**answer, "token": order.token}))
                elif one.number > stored:
                    age = max(0, now_ns - one.queued_ns) // 1000
                    rows.append(_row(order, wall, steady - age))
            self._insert(rows)
            self.heap.count(bad=sum(one.number > stored for one, _ in bad))
            if hand[-1].number > stored:
                self.heap.note_taken(epoch, hand[-1].number)
        self._hand = []
        for channel, answer in replies:
            if not self.port.reply(channel, answer):
                log.warning("no room for an answer on %s", channel)
        for one, reason in bad:
            if one.number > stored:
                target = "" if reason.channel is None else f" for {reason.channel!r:.120}"
                log.error("a message%s on asgi.delay was dropped: %s", target, reason)
            self.port.reject(one)
        refused = {id(one) for one, _ in bad}
        self.port.acknowledge([one for one in hand if id(one) not in refused] if bad else hand)
        return True

    def _insert(self, rows: list[NewRow]) -> None:
        if rows:
            self.heap.insert(rows)
            self.heap.count(accepted=len(rows))

    def _serve(self, order: Order, number: int, again: bool) -> Message:
        """Answer a request, in the transaction that takes it in. One that comes again, after a death, is answered again."""
        if order.request == "cancel" and order.id is not None:
            if again:
                return {"done": self.heap.answer(number)}
            done = self.heap.cancel(order.id)
            self.heap.note_answer(number, done)
            return {"done": done}
        if order.request == "purge":
            return {"purged": self.heap.purge(order.channel, PURGE_ROWS)}
        if order.request == "pending":
            return self._page(order)
        return {**self.heap.statistics(), "path": str(self.heap.path), "pid": os.getpid()}

    def _page(self, order: Order) -> Message:
        rows = self.heap.page(order.channel, order.after, PAGE_ROWS)
        shown: list[list[object]] = []
        size = 0
        for row in rows:
            size += len(row.content)
            if shown and size > PAGE_BYTES:
                break
            shown.append([row.n, *astuple(scheduled(row, self.clocks.skew))])
        return {"rows": shown, "more": len(shown) < len(rows) or len(rows) == PAGE_ROWS}

    # --- out

    def hand_over(self) -> bool:
        """Send what is due, one batch at most; whether there was any."""
        if self._outcome is not None:  # the disk was full when the last one was settled
            self._settle(*self._outcome)
        batch = secrets.randbits(62) + 1  # one that no copy of the file put back from a backup can know
        wall, steady = self.clocks.now()
        rows = self.heap.open_batch(batch, wall, steady)
        mask = dead = bad = 0
        later: dict[int, int] = {}
        full: set[str] = set()
        for bit, row in enumerate(rows):
            now = wall if row.clock == WALL else steady
            channel, payload = row.channel, row.content
            is_dead = row.first_due is not None and now - row.first_due >= PATIENCE
            if is_dead:
                channel, payload = DEAD_CHANNEL, dead_letter(row)
            outcome = Outcome.FULL if channel in full else self.port.put(batch, bit, channel, payload)
            if outcome is Outcome.FULL:
                full.add(channel)
                later[bit] = now + min(SECOND << min(row.tries, 16), LONGEST_BACKOFF)
                continue
            mask |= 1 << bit
            if outcome is Outcome.TOO_LARGE:
                bad |= 1 << bit
                log.error("a message of %d bytes to %s was dropped: the layer carries none of that size", len(payload), channel)
            elif is_dead:
                dead |= 1 << bit
                log.error("%s was full for %d s: a message is on %s", row.channel, PATIENCE // SECOND, DEAD_CHANNEL)
        if rows:
            self._settle(mask, later, dead, bad)
        return bool(rows)

    def _settle(self, mask: int, later: dict[int, int], dead: int, bad: int) -> None:
        self._outcome = mask, later, dead, bad
        self.heap.settle(mask, *self.clocks.now(), later, dead, bad)
        self._outcome = None


def _row(order: Order, wall: int, steady: int) -> NewRow:
    """What is stored of an order that was sent at these times."""
    clock = STEADY
    if isinstance(order.every, str):
        clock, due = WALL, cron_after(order.every, wall, local_zone())
    elif order.at is not None:
        clock, due = WALL, -int(-order.at * SECOND // 1)  # not before: rounded up
    elif order.delay is not None:
        due = steady - int(-order.delay * 1000 // 1)
    else:
        due = steady + round(float(order.every or 0) * SECOND)
    return order.id, str(order.channel), bytes(order.content), clock, due, order.every


def scheduled(row: Row, skew: int) -> Scheduled:
    """What people are told of a message that waits; ``skew``: of STEADY beyond WALL."""
    content = None
    if len(row.content) <= PAGE_BYTES:
        with contextlib.suppress(ValueError):  # nobody has looked into it before; who gets it says what is wrong with it
            content = wire.decode(row.content)
    due = (row.due if row.clock == WALL else row.due - skew) / SECOND
    return Scheduled(row.id if row.id is not None else f"#{row.n}", row.channel, content, due, row.every, row.tries)


def dead_letter(row: Row) -> bytes:
    """What is sent to `DEAD_CHANNEL` of a message that was given up, encoded; its content as it was."""
    letter = {"channel": row.channel, "content": msgspec.Raw(row.content), "cause": "full", "attempts": row.tries}
    return msgspec.msgpack.encode(letter)
