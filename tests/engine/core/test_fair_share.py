"""Counting for tenants who has been served how much."""

from pagelet_engine.core.fair_share import FairShare

from .rig import Rig


def present(*tenants: str) -> FairShare:
    shares = FairShare(enabled=True)
    for tenant in tenants:
        shares.enter(tenant)
    return shares


def test_nothing_is_counted_while_one_is_alone():
    shares = present("bank", "bank")
    shares.charge("bank", 100)
    assert shares.served("bank") == 0


def test_who_comes_starts_where_the_least_served_is():
    shares = present("bank", "shop")
    shares.charge("bank", 100)
    shares.charge("shop", 60)
    shares.enter("mill")
    assert shares.served("mill") == 60


def test_who_comes_back_soon_keeps_what_it_was_served_beyond_that():
    shares = present("bank", "shop", "mill")
    shares.charge("bank", 100)
    shares.leave("bank")
    shares.charge("shop", 30)
    shares.charge("mill", 20)
    shares.enter("bank")
    assert shares.served("bank") == 100


def test_the_gone_are_forgotten_once_the_present_have_caught_up():
    shares = present("bank", "shop", "mill")
    shares.leave("bank")
    shares.charge("shop", 10)
    shares.charge("mill", 10)
    shares.leave("mill")
    assert len(shares) == 1
    assert "bank" not in shares._served


def test_without_fair_share_all_are_one():
    assert FairShare(enabled=False).of("bank") == FairShare(enabled=False).of("shop")


def finishing_order(fair_share: bool) -> list[str]:
    rig = Rig(max_num_seqs=1, fair_share=fair_share)
    for number in range(4):
        rig.add(f"bank {number}", 8, max_tokens=4, tenant="bank")
    rig.step()
    rig.add("shop 0", 8, max_tokens=4, tenant="shop")
    rig.add("shop 1", 8, max_tokens=4, tenant="shop")
    rig.drain()
    return [id.split()[0] for id in rig.finishing]


def test_tenants_take_turns_however_long_one_of_them_queues():
    assert finishing_order(fair_share=False) == ["bank"] * 4 + ["shop"] * 2
    assert finishing_order(fair_share=True) == ["bank", "shop", "bank", "shop", "bank", "bank"]


def test_a_tenant_with_more_than_its_share_gives_way():
    rig = Rig(num_blocks=24, max_num_seqs=8)
    for number in range(6):
        rig.add(f"bank {number}", 9, max_tokens=60, tenant="bank")
    rig.steps(4)
    assert rig.engine.load().waiting, "all that there is room for run"
    rig.add("shop", 9, max_tokens=3, tenant="shop")
    rig.until(lambda: "shop" in rig.reports)
    assert not rig.finished
    assert rig.engine.load().preemptions >= 1
    rig.drain()


def test_nobody_gives_way_to_one_who_has_a_share_already():
    rig = Rig(max_num_seqs=2)
    rig.add("bank", 8, max_tokens=20, tenant="bank")
    rig.add("shop 0", 8, max_tokens=20, tenant="shop")
    rig.steps(2)
    rig.add("shop 1", 8, max_tokens=3, tenant="shop")
    rig.drain()
    assert rig.engine.load().preemptions == 0
