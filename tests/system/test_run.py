"""`shmchan run` from its start to its end, as a client and as somebody at the keyboard see it."""

import http.client
import json
import re
import signal
import socket
import subprocess
from pathlib import Path
from threading import Thread

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.servers import WATCHDOG, Server, StartServer, command, environment, is_gone, left_behind, wait_for


def get(server: Server, path: str) -> tuple[int, str]:
    """The status and body of a GET; a client that gives up raises."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WATCHDOG)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def answers(server: Server, path: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return get(server, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def is_refused(server: Server) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=WATCHDOG).close()
    except ConnectionRefusedError:
        return True
    return False


def websocket(server: Server, path: str = "/") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=WATCHDOG, close_timeout=WATCHDOG, compression=None)


def echo(client: ClientConnection, text: str) -> str | bytes:
    client.send(text)
    return client.recv(timeout=WATCHDOG)


@pytest.mark.parametrize("by", ["SIGTERM", "Ctrl-C"])
def test_it_serves_and_stops_and_leaves_nothing(server: StartServer, by: str) -> None:
    running = server("--workers", "2")
    assert left_behind(running.name) != []
    status, body = get(running, "/pid")
    assert (status, int(body) in running.children("worker")) == (200, True)
    assert get(running, "/nothing/here")[0] == 404
    with websocket(running) as client:
        assert echo(client, "Grüße") == "Grüße"
    if by == "Ctrl-C":
        running.press_ctrl_c()
    else:
        running.send_signal(signal.SIGTERM)
    running.stop_was_asked()
    assert "Traceback" not in running.printed()
    assert "again" not in running.printed()


def test_the_banner_says_where_and_with_what(server: StartServer) -> None:
    running = server("--workers", "3")
    banner = running.printed()
    assert " serves app\n" in banner
    assert f"  at    http://127.0.0.1:{running.port}\n" in banner
    assert f"  with  3 workers, segment '{running.name}' of 32 MiB\n" in banner
    assert "\x1b" not in banner
    assert len(running.children("worker")) == 3
    assert len(running.children("front")) == 1


@pytest.mark.parametrize("everybody", [False, True], ids=["supervisor", "everybody"])
def test_stopping_closes_websockets_with_1012_and_their_disconnect_is_consumed(server: StartServer, everybody: bool) -> None:
    running = server("--workers", "1")
    with websocket(running, "/here") as client:
        assert echo(client, "hello") == "hello"
        if everybody:
            running.terminate_every_process()
        else:
            running.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=WATCHDOG)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    running.stop_was_asked()
    assert [note for note in running.read_notes() if note.startswith("disconnect /here")] == ["disconnect /here 1012"]


def test_a_request_that_runs_is_answered_before_the_end(server: StartServer) -> None:
    running = server("--workers", "1", "--graceful-timeout", "60")
    answer: list[tuple[int, str]] = []
    asking = Thread(target=lambda: answer.append(get(running, "/slow")))
    asking.start()
    running.wait_for_note("slow begins")
    running.send_signal(signal.SIGTERM)
    running.wait_for_print("SIGTERM: finishing what runs")
    wait_for("a refusal of new clients", lambda: is_refused(running), running.log)
    Path(f"{running.notes}.go").touch()
    asking.join(WATCHDOG)
    running.stop_was_asked()
    assert answer == [(200, "slow is done")]


LATER_APP = """
import os, time
from shmchan import route
from shmchan.exceptions import ConsumeLater

NOTES = os.environ["NOTES"]

def note(text):
    with open(NOTES, "a") as file:
        file.write(text + "\\n")

def later(message):
    note("later")
    raise ConsumeLater

def slow(message):
    note("slow begins")
    while not os.path.exists(NOTES + ".go"):
        time.sleep(0.01)
    note("slow ends")

routing = [
    route("websocket.receive", later, path="/later$"),
    route("http.request", later),
    route("websocket.receive", slow, path="/slow$"),
    route("websocket.disconnect", lambda message: note("disconnect " + message["path"])),
]
"""


def test_stopping_waits_for_what_runs_and_not_for_what_was_put_back(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(LATER_APP)
    running = server("--workers", "2", app="later")
    with websocket(running, "/later") as late, websocket(running, "/slow") as slow:
        late.send("x")
        slow.send("x")
        running.wait_for_note("slow begins")
        wait_for("a pause that lasts", lambda: running.read_notes().count("later") >= 5, running.log)
        running.send_signal(signal.SIGTERM)
        running.wait_for_print("front ends")
        Path(f"{running.notes}.go").touch()
    running.stop_was_asked()
    assert "dropped: ConsumeLater put back" in running.printed()
    assert [note for note in running.read_notes() if note != "later"][1:] == ["slow ends", "disconnect /slow"]


def test_a_request_that_was_put_back_is_a_503_when_the_run_is_stopped(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(LATER_APP)
    running = server("--workers", "2", app="later")
    answer: list[tuple[int, str]] = []
    asking = Thread(target=lambda: answer.append(get(running, "/")))
    asking.start()
    wait_for("a pause that lasts", lambda: running.read_notes().count("later") >= 5, running.log)
    running.stop()
    asking.join(WATCHDOG)
    assert answer == [(503, "503 Service Unavailable\n")]


def test_a_second_signal_stops_at_once(server: StartServer) -> None:
    running = server("--workers", "1", "--graceful-timeout", "1000")
    with socket.create_connection(("127.0.0.1", running.port), timeout=WATCHDOG) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        running.wait_for_note("slow begins")
        running.send_signal(signal.SIGTERM)
        running.wait_for_print("SIGTERM: finishing what runs")
        running.stop(signal.SIGTERM, code=1)
    assert "again: stopping at once" in running.printed()


def test_a_killed_worker_is_replaced_and_connections_stay(server: StartServer) -> None:
    running = server("--workers", "1")
    with websocket(running) as client:
        assert echo(client, "before") == "before"
        (worker,) = running.children("worker").values()
        worker.kill()
        wait_for("another worker", lambda: running.children("worker").keys() - {worker.pid}, running.log)
        assert echo(client, "after") == "after"
    assert get(running, "/pid") == (200, str(*running.children("worker")))
    assert "was killed by SIGKILL; starting it again" in running.printed()
    running.stop()


def test_a_request_whose_worker_dies_is_a_502_and_the_next_is_answered(server: StartServer) -> None:
    running = server("--workers", "1")
    assert get(running, "/die")[0] == 502
    assert get(running, "/pid")[0] == 200
    running.stop()
    assert running.read_notes().count("dying") == 1


def test_a_killed_front_is_replaced_on_the_same_port_and_workers_hear_of_it(server: StartServer) -> None:
    running = server("--workers", "1")
    with websocket(running, "/gone") as client:
        assert echo(client, "before") == "before"
        workers = running.children("worker").keys()
        (front,) = running.children("front").values()
        front.kill()
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=WATCHDOG)
    wait_for("an answer of the new front", lambda: answers(running, "/pid"), running.log)
    running.wait_for_note("disconnect /gone 1006")
    with websocket(running) as client:
        assert echo(client, "to all") == "for all"
    assert running.children("worker").keys() == workers
    running.stop()


@pytest.mark.parametrize("everything", [True, False], ids=["everything", "supervisor"])
def test_after_sigkill_the_next_start_serves_again(server: StartServer, everything: bool) -> None:
    first = server("--workers", "2")
    with websocket(first) as client:
        assert echo(client, "before") == "before"
        if everything:
            first.kill()
        else:
            children = [*first.children("worker").values(), *first.children("front").values()]
            first.process.kill()
            first.process.wait()
            wait_for("the end of the children", lambda: all(is_gone(child) for child in children), first.log)
    second = server("--workers", "2", name=first.name)
    with websocket(second) as client:
        assert echo(client, "to all") == "for all"
    assert get(second, "/pid")[0] == 200
    second.stop()


def test_a_unix_socket_serves_and_goes(server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    running = server("--workers", "1", "--unix", str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WATCHDOG)
        client.connect(str(path))
        client.sendall(b"GET /pid HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.splitlines()[0].split()[1] == b"200"
    running.stop()
    assert not path.exists()


def test_options_come_from_arguments_then_environment_then_project(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.shmchan]\napp = "app"\nworkers = 3\nlog-level = "error"\naccess-log = false\n'
    )
    running = server(app=None)
    assert len(running.children("worker")) == 3
    running.stop()
    running = server(app=None, env={"SHMCHAN_WORKERS": "2", "SHMCHAN_LOG_LEVEL": "info"})
    assert len(running.children("worker")) == 2
    running.stop()
    assert "SIGTERM: finishing" in running.printed()
    running = server("--workers", "1", app=None, env={"SHMCHAN_WORKERS": "2"})
    assert len(running.children("worker")) == 1
    running.stop()


def test_it_listens_wherever_it_is_told(server: StartServer) -> None:
    running = server("--workers", "1", "--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0")
    ports = [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)\n", running.printed())]
    assert len(set(ports)) == 2
    for port in ports:
        running.port = port
        assert get(running, "/pid")[0] == 200
    running.stop()


def test_the_application_is_imported_in_each_worker_and_nowhere_else(server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text("from app import note, routing\nimport os\nnote(f'imported {os.getpid()}')\n")
    running = server("--workers", "2", app="noting")
    workers = running.children("worker").keys()
    running.stop()
    assert sorted(running.read_notes()) == sorted(f"imported {pid}" for pid in workers)


def test_ps_and_the_doctor_say_which_process_is_which(server: StartServer) -> None:
    running = server("--workers", "2")
    processes = {kind: running.children(kind) for kind in ("front", "worker 1", "worker 2")}
    for kind, found in processes.items():
        [process] = found.values()
        assert " ".join(process.cmdline()).strip() == f"shmchan: {kind} ({running.name})"
    report = json.loads(subprocess.check_output(command("doctor", "--name", running.name, "--json"), env=environment()))
    roles = {row["pid"]: row["role"] for row in report["processes"]}
    assert {pid: roles[pid] for found in processes.values() for pid in found} == {
        pid: kind for kind, found in processes.items() for pid in found
    }
    assert roles[running.process.pid] == "", "the supervisor is whom one called"
    text = subprocess.check_output(command("doctor", "--name", running.name), env=environment(), text=True)
    [pid] = processes["worker 2"]
    assert f"process {pid}, worker 2 (alive)" in text
    running.stop()
