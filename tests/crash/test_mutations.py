"""
Do the crash points notice? One step of the recovery is taken out of a copy of the core, and the harness must find a violation.

Which proof finds which mutation is told in docs/recovery.md.
"""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from .test_points import CORE, HERE, build


class Mutation(NamedTuple):
    """What is replaced in which file, and with which mode, stride and first point of the harness that shows."""

    file: str
    old: str
    new: str
    mode: str = "kill"
    stride: int = 23
    offset: int = 1


MUTATIONS = {
    "the log of a dead holder is not played back": Mutation(
        "lock.c",
        "        undo(s, d);\n        POINT();\n        pthread_mutex_consistent",
        "        d->log_n = 0;\n        pthread_mutex_consistent",
    ),
    "a log entry is counted before it is written": Mutation(
        "internal.h",
        "        _domain->log[_n].where = ",
        "        _domain->log_n = _n + 1;                                                                         \\\n"
        "        BARRIER();                                                                                       \\\n"
        "        POINT();                                                                                         \\\n"
        "        _domain->log[_n].where = ",
        stride=3,
    ),
    "a link that says something is changed without the log": Mutation(
        "channel.c", "    return !(entry & LANE_BIT) && descriptor_at(s, entry)->state != QUEUED;\n", "    return s && entry;\n"
    ),
    "a lease's owner is changed without the log": Mutation(
        "queue.c", "    KEEP(s, domain, d->owner, s->slot_reference);\n", "    PUT(d->owner, 0);\n", stride=3
    ),
    "what a dead process held is not freed": Mutation("reap.c", "        else if (state == HELD && ", "        else if (!s && "),
    "what a dead process leased is forgotten": Mutation(
        "reap.c", "        else if (state == LEASED && ", "        else if (!s && "
    ),
    "a committed outbox is not rolled forward": Mutation("reap.c", "    settle_outboxes(s, owner);\n    for", "    for"),
    "an open outbox is not dropped": Mutation("reap.c", "    drop_open_outboxes(s, owner);\n", ""),
    "the lane of a lost lease does not go on": Mutation("reap.c", "    settle_lanes(s, owner);\n", ""),
    "a front's connections are not closed": Mutation("reap.c", "    connection_sweep(s, owner);\n", ""),
    "a front's members stay": Mutation("front.c", "    group_sweep(s, prefix, length);\n", ""),
    "what is due is noted in a step of its own": Mutation(
        "delay.c",
        "            note(s, t->domain, batch, bit);\n",
        "            commit(s, t->domain), note(s, t->domain, batch, bit);\n",
        stride=3,
    ),
    "what is due is handed over without a look at the notes": Mutation(
        "delay.c", "    return d->delay_batch == batch && ", "    return 0 && d->delay_batch == batch && "
    ),
    "a kept message's ordinary members do not learn its offset": Mutation(
        "history.c", "        pool_write(s, item, e->length - BE64, bytes, BE64);\n", ""
    ),
    "what a dead process was telling a group is never told": Mutation(
        "presence.c", "if ((p->claim && is_somebody(s, p->claim)) || ", "if (p->claim || "
    ),
    "what one reaper takes over is HELD before it is his": Mutation(
        "queue.c",
        "    KEEP(s, domain, d->owner, s->slot_reference);\n    SET(s, domain, d->state, HELD);\n",
        "    SET(s, domain, d->state, HELD);\n    KEEP(s, domain, d->owner, s->slot_reference);\n",
        mode="pair",
        stride=100_000,
        offset=3500,
    ),
    "a notice is moved on before the step that began it is over": Mutation(
        "reap.c",
        "    lock(s, SHMC_WORK); /* the section that began to move it is over: done, or undone */\n"
        "    int moving = HINT(d->state) == MOVING && HINT(d->generation) == generation;\n    unlock(s, SHMC_WORK);\n",
        "    int moving = HINT(d->state) == MOVING;\n",
        mode="pair",
        stride=100_000,
        offset=2890,
    ),
    "a lease changes its domain before it is none": Mutation(
        "reap.c",
        "            SET(s, domain, d->owner, 0);\n            SET(s, domain, d->state, MOVING);\n",
        "            SET(s, domain, d->domain, SHMC_REPLY);\n            SET(s, domain, d->owner, 0);\n"
        "            SET(s, domain, d->state, MOVING);\n",
        mode="pair",
        stride=100_000,
        offset=2890,
    ),
    "what nobody has falls to no reaper": Mutation(
        "internal.h",
        "    return owner == dead || (owner && !is_somebody(s, owner));\n",
        "    return s && owner == dead;\n",
        mode="pair",
        stride=100_000,
        offset=4270,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_missing_step_is_found(name: str, tmp_path: Path) -> None:
    mutation = MUTATIONS[name]
    core = tmp_path / "csrc"
    core.mkdir()
    for path in [*CORE.glob("*.c"), *CORE.glob("*.h")]:
        text = path.read_text()
        if path.name == mutation.file:
            assert mutation.old in text, f"the mutation no longer fits {path.name}: adapt it"
            text = text.replace(mutation.old, mutation.new, 1)
        (core / path.name).write_text(text)
    harness = tmp_path / "tests" / "crash" / "points.c"
    harness.parent.mkdir(parents=True)
    harness.write_text((HERE / "points.c").read_text())
    binary = build(tmp_path, [harness, *sorted(core.glob("*.c"))], ["-std=gnu11", "-D_GNU_SOURCE", "-O0", "-w", "-pthread"])
    run = subprocess.run(
        [binary, mutation.mode, str(mutation.stride), str(mutation.offset)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 1, f"nothing was found: {run.stdout}{run.stderr}"
    assert "VIOLATION" in run.stdout
