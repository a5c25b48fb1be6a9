"""Several parts at the same time: each once, none before what it needs, and an error ends only what depends on it."""

import threading
import time

import pytest

from prunekit import options, turns
from prunekit.ledger import Ledger
from prunekit.paper import together
from prunekit.paper.experiments import Experiment
from prunekit.paper.jobs import Job, Part, Work
from prunekit.paper.settings import setting


class Log:
    """What ran, and how many at most at a time."""

    def __init__(self, together: int = 1):
        """A part waits until `together` of them run."""
        self.ended: list[str] = []
        self.now = self.most = 0
        self.lock, self.meeting = threading.Lock(), threading.Barrier(together)

    def part(self, name: str, network: str | None = None, kept: tuple[str, ...] = (), error: str = "") -> Part:
        def code(job: Job) -> None:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            with turns.aside():  # as training on a GPU does
                self.meeting.wait(60)
                turns.go_on()
            for each in kept:
                job.weights(each).parent.mkdir(parents=True, exist_ok=True)
                job.weights(each).touch()
            with self.lock:
                self.now -= 1
                self.ended.append(name)
            if error:
                raise ValueError(error)

        return Part(name, {"name": name}, code, lambda s: Work("vgg16"), network, kept)


def shares(tmp_path, *parts: Part) -> list:
    job = Job("one", Ledger(tmp_path / "results", "digits"), setting("digits"), 0)
    return [(Experiment("one", "", "", lambda job: list(parts)), job, list(parts))]


def test_all_are_done_so_many_at_a_time(tmp_path):
    log = Log(together=3)
    work = shares(tmp_path, *(log.part(str(n)) for n in range(6)))
    done = [piece.part.table for piece, error in together.at_once(work, 3) if error is None]
    assert sorted(done) == sorted(log.ended) == [str(n) for n in range(6)]
    assert log.most == 3


def test_what_needs_a_network_waits_for_it(tmp_path):
    log = Log()
    parts = [
        log.part("retrained", "net"),
        log.part("other"),
        log.part("trained", kept=("net",)),
        log.part("swept", "net"),
    ]
    assert all(error is None for _, error in together.at_once(shares(tmp_path, *parts), 4))
    assert log.ended.index("trained") < min(log.ended.index("retrained"), log.ended.index("swept"))


def test_a_network_that_nobody_makes_is_not_waited_for(tmp_path):
    log = Log()
    assert len(list(together.at_once(shares(tmp_path, log.part("a", "elsewhere")), 2))) == 1
    assert log.ended == ["a"]


def test_an_error_ends_what_depends_on_it_and_nothing_else(tmp_path):
    log = Log()
    bad = log.part("bad", kept=("gone",), error="no luck")
    work = shares(tmp_path, bad, log.part("child", "gone"), log.part("good"))
    found = {piece.part.table: error for piece, error in together.at_once(work, 2)}
    assert str(found.pop("bad")) == "no luck"
    assert found == {"good": None} and "child" not in log.ended


def test_whoever_stops_listening_stops_the_others(tmp_path):
    log = Log()
    work = shares(tmp_path, *(log.part(str(n)) for n in range(50)))
    for _ in together.at_once(work, 2):
        break
    assert len(log.ended) <= 2, "no other is begun"


def test_a_time_limit_ends_what_is_running(tmp_path):
    def endless(job: Job) -> None:
        with turns.aside():
            while True:
                time.sleep(0.01)
                turns.go_on()

    parts = [Part(name, {"name": name}, endless, lambda s: Work("vgg16")) for name in ("a", "b", "c")]
    with options.stopping_after(0.3):
        assert list(together.at_once(shares(tmp_path, *parts), 2)) == []
        pytest.fail("it should not come to an end")


def test_a_turn_is_had_by_one_and_can_be_given_away():
    order: list[str] = []

    def other() -> None:
        with turns.turn():
            order.append("other")

    with turns.turn():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.05)
        assert not order
        with turns.aside():
            thread.join(10)
            assert order == ["other"]
        with turns.turn():  # again: a job that has it goes on
            pass
    with turns.aside():  # without having it
        pass


def test_stopped_is_no_error():
    turns.stop()
    try:
        with pytest.raises(turns.Stopped):
            turns.go_on()
    finally:
        turns.allow()
    turns.go_on()
    assert not issubclass(turns.Stopped, Exception)
