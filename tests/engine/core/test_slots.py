from pagelet_engine.core.slots import Slots


def test_gives_low_slots_first():
    slots = Slots(3)
    assert [slots.take(), slots.take()] == [0, 1]


def test_a_slot_is_free_when_the_last_step_that_names_it_has_ended():
    slots = Slots(1)
    slots.release(slots.take(), last_step=2)
    slots.end_step(1)
    assert not slots
    slots.check([])
    slots.end_step(2)
    assert slots.take() == 0


def test_a_slot_that_no_step_in_flight_names_is_free_at_once():
    slots = Slots(1)
    slot = slots.take()
    slots.end_step(1)
    slots.release(slot, last_step=1)
    assert slots
