"""Work shared between processes, buffers that threads use again, products that share a job."""

import os
import signal

import pytest

from scripts.lib.files.buffers import thread_buffer
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.parallel import LEAST, in_processes
from scripts.lib.running.planning import Deliveries, batches_of


def test_results_come_in_order_from_several_processes():
    found = in_processes(lambda part: [(os.getpid(), item) for item in part], [*range(301)], 3)
    assert [item for _, item in found] == [*range(301)]
    assert len({process for process, _ in found}) == 3
    few = in_processes(lambda part: [os.getpid() for _ in part], [*range(LEAST)], 3)
    assert {*few} == {os.getpid()} and in_processes(list, [], 3) == []


def test_a_process_that_fails_or_is_killed_fails_the_job():
    ours = os.getpid()

    def failing(part: list[int]) -> list[int]:
        return part if os.getpid() == ours else [1 // 0]

    def killed(part: list[int]) -> list[int]:
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    with pytest.raises(JobFailed, match="ZeroDivisionError"):
        in_processes(failing, [*range(200)], 2)
    with pytest.raises(JobFailed, match="ended before its answer"):
        in_processes(killed, [*range(200)], 2)


def test_a_buffer_that_may_still_be_filled_is_not_used_again():
    with thread_buffer(8) as first:
        pass
    with thread_buffer(8) as second, thread_buffer(8) as inner:
        assert second is first and inner is not first
    with pytest.raises(OSError), thread_buffer(8) as given_up:
        raise OSError
    with thread_buffer(8) as fresh:
        assert fresh is not given_up


def test_small_products_of_a_group_share_a_job():
    sizes = {"a": 40, "b": 70, "c": 30, "d": 101, "e": 60, "f": 10}
    groups = dict.fromkeys(sizes, "C") | {"e": "S", "f": "S"}
    due = Deliveries(frozenset(sizes), frozenset(), sizes, groups)
    assert batches_of(due, 100) == {"b": ["b", "c"], "e": ["e", "f"]}, "a and d are alone"
    assert batches_of(due, 0) == {}
