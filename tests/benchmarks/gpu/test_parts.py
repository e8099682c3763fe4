"""The processes that parts run in: what they leave, and who gets the time that they leave."""

from gpu.parts import run_parts


def test_a_part_that_does_not_end_in_time_is_stopped_and_said_to_be_cut() -> None:
    found = run_parts({"decode-step": 0.5}, True, lambda name, limit_s: None)
    assert found["decode-step"].was_cut
    assert not found["decode-step"].failure
    assert found["decode-step"].seconds < 30


def test_a_part_that_fails_leaves_its_last_words_and_its_time_to_the_next() -> None:
    limits = {}
    found = run_parts({"no such part": 60.0, "decode-step": 0.5}, True, limits.__setitem__)
    assert "no such part" in found["no such part"].failure
    assert not found["no such part"].was_cut
    assert limits["decode-step"] > 0.5
