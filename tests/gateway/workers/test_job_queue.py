"""Which job is next: decisions alone, no processes."""

from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.workers.job_queue import MAX_WAIT_S, JobQueue

CLASSES = (10, 100, 1000)
ANY = len(CLASSES) - 1


def queue_of(*jobs: tuple[str, str, int]) -> JobQueue[str]:
    queue = JobQueue[str](CLASSES)
    for item, client, num_bytes in jobs:
        queue.add(item, client, num_bytes, now_s=0.0)
    return queue


def order(queue: JobQueue[str], took_s: float = 0.1, now_s: float = 0.0) -> list[str]:
    """What one worker for all sizes does, one job after the other."""
    done = []
    while (taken := queue.take(ANY, now_s)) is not None:
        done.append(taken.item)
        queue.ended(taken, took_s)
    return done


def test_a_client_with_many_jobs_does_not_make_another_wait_for_all_of_them() -> None:
    queue = queue_of(*((f"a{number}", "a", 500) for number in range(40)))
    first = queue.take(ANY, 0.0)
    assert first is not None
    queue.add("b", "b", 500, 0.0)
    queue.ended(first, 3.0)
    assert order(queue)[0] == "b"


def test_short_jobs_of_a_client_go_before_its_long_ones() -> None:
    assert order(queue_of(("long", "a", 900), ("short", "a", 5), ("middle", "a", 50))) == ["short", "middle", "long"]


def test_a_long_job_that_has_waited_goes_before_short_ones() -> None:
    queue = queue_of(("long", "a", 900))
    queue.add("short", "a", 5, MAX_WAIT_S)
    assert order(queue, now_s=MAX_WAIT_S) == ["long", "short"]


def test_a_worker_for_short_jobs_takes_no_long_one() -> None:
    queue = queue_of(("long", "a", 900), ("short", "b", 5))
    taken = queue.take(0, 100.0)
    assert taken is not None
    assert taken.item == "short"
    assert queue.take(0, 100.0) is None


def test_a_client_is_charged_what_its_jobs_took() -> None:
    queue = queue_of(("a1", "a", 5), ("a2", "a", 5), ("b1", "b", 5), ("b2", "b", 5), ("b3", "b", 5))
    taken = queue.take(ANY, 0.0)
    assert taken is not None
    assert taken.item == "a1"
    queue.ended(taken, 10.0)
    assert order(queue, took_s=1.0) == ["b1", "b2", "b3", "a2"]


def test_a_client_that_comes_back_has_no_credit_for_its_absence() -> None:
    queue = queue_of(("a1", "a", 5), ("b1", "b", 5))
    order(queue, took_s=5.0)
    for number in range(4):
        queue.add(f"a{number}", "a", 5, 0.0)
    taken = queue.take(ANY, 0.0)
    assert taken is not None
    queue.ended(taken, 1.0)
    queue.add("b2", "b", 5, 0.0)
    queue.add("b3", "b", 5, 0.0)
    done = order(queue, took_s=1.0)
    assert done[:4] in (["b2", "a1", "b3", "a2"], ["b2", "a1", "a2", "b3"])


def test_a_job_that_is_removed_is_never_taken() -> None:
    queue = queue_of(("a1", "a", 5), ("a2", "a", 5))
    assert queue.remove("a1", "a")
    assert not queue.remove("a1", "a")
    assert not queue.remove("a1", "unknown")
    assert order(queue) == ["a2"]
    assert len(queue) == 0


jobs = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2000)), max_size=40)


@given(jobs, st.randoms(use_true_random=False))
def test_every_job_is_taken_once_by_a_worker_that_takes_its_size(sizes: list[tuple[str, int]], random: object) -> None:
    queue = JobQueue[int]((10, 100, 2**62))
    for item, (client, num_bytes) in enumerate(sizes):
        queue.add(item, client, num_bytes, now_s=float(item))
    taken = []
    now_s = 0.0
    while len(queue):
        now_s += 1
        worker = random.choice((0, 1, 2))  # type: ignore[attr-defined]
        job = queue.take(worker, now_s)
        if job is not None:
            assert sizes[job.item][1] <= (10, 100, 2**62)[worker]
            taken.append(job.item)
            queue.ended(job, 0.1)
    assert sorted(taken) == list(range(len(sizes)))


@given(st.integers(2, 5), st.integers(5, 20))
def test_clients_that_always_have_work_are_served_alike(clients: int, rounds: int) -> None:
    queue = JobQueue[str](CLASSES)
    served = dict.fromkeys(map(str, range(clients)), 0.0)
    for name in served:
        for number in range(rounds * clients):
            queue.add(f"{name}/{number}", name, 50, 0.0)
    for _ in range(rounds * clients):
        taken = queue.take(ANY, 0.0)
        assert taken is not None
        took_s = 0.1 * (1 + int(taken.client))  # some clients' jobs take longer
        served[taken.client] += took_s
        queue.ended(taken, took_s)
    longest_s = 0.1 * clients
    assert max(served.values()) - min(served.values()) <= 2 * longest_s
