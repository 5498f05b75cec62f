"""Statistics, money and quarters, on known answers and on what must always hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.tools import markdown
from crewstream_agents.tools.base import ComputingTool, ToolInputError
from crewstream_agents.tools.money import cents, split
from crewstream_agents.tools.periods import Quarter, quarter_of, resolve
from crewstream_agents.tools.statistics import (
    holm,
    minimum_detectable_lift,
    sample_size,
    two_proportion_z_test,
    wilson_interval,
)

KNOWN = [Quarter(2024, 4), Quarter(2025, 3), Quarter(2025, 4)]


def test_the_wilson_interval_of_8_in_10() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


@given(st.integers(1, 10**6), st.data())
def test_a_wilson_interval_holds_its_rate_and_stays_a_proportion(
    trials: int, data: st.DataObject
) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


def test_the_z_test_of_45_and_30_in_100() -> None:
    found = two_proportion_z_test(45, 100, 30, 100)
    assert found.z == pytest.approx(2.1909, abs=1e-4)
    assert found.p_value == pytest.approx(0.02846, abs=1e-5)


@given(st.integers(0, 50), st.integers(0, 50))
def test_the_z_test_does_not_care_which_is_first(one: int, other: int) -> None:
    there, back = (
        two_proportion_z_test(one, 50, other, 50),
        two_proportion_z_test(other, 50, one, 50),
    )
    assert there.p_value == pytest.approx(back.p_value)
    assert there.z == pytest.approx(-back.z)


def test_nobody_seen_is_no_evidence() -> None:
    assert two_proportion_z_test(0, 0, 3, 10).p_value == 1.0
    assert two_proportion_z_test(0, 9, 0, 10).p_value == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_holm_on_three_p_values() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert all(before <= after <= 1 for before, after in zip(raw, adjusted, strict=True))
    by_raw = [adjusted[i] for i in sorted(range(len(raw)), key=raw.__getitem__)]
    assert by_raw == sorted(by_raw)


def test_the_sample_size_for_12_against_10_percent() -> None:
    assert sample_size(0.10, 0.2) == 3841


def test_the_detectable_lift_is_the_inverse_of_the_sample_size() -> None:
    assert minimum_detectable_lift(0.10, 3841) == pytest.approx(0.2, abs=1e-4)
    assert minimum_detectable_lift(0.5, 2) == 1.0


MONEY = st.decimals(Decimal(0), Decimal(10**9), places=2)
WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(lambda w: sum(w) > 1e-6)


@given(MONEY, WEIGHTS)
def test_a_split_loses_no_cent_and_is_fair_to_one(total: Decimal, weights: list[float]) -> None:
    parts = split(total, weights)
    assert sum(parts) == total
    whole = sum(Decimal(str(weight)) for weight in weights)
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * Decimal(str(weight)) / whole) <= Decimal("0.01")


def test_a_split_needs_something_to_split_by() -> None:
    with pytest.raises(ValueError, match="no weight is above zero"):
        split(Decimal(1), [0.0, 0.0])


def test_half_a_cent_goes_to_the_even_one() -> None:
    assert (cents(0.125), cents(0.135)) == (Decimal("0.12"), Decimal("0.14"))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (None, Quarter(2025, 4)),
        ("Q4", Quarter(2025, 4)),
        ("q3", Quarter(2025, 3)),
        ("2024-Q4", Quarter(2024, 4)),
        ("Q4 2024", Quarter(2024, 4)),
    ],
)
def test_a_quarter_is_found_however_it_is_written(asked: str | None, meant: Quarter) -> None:
    found, how = resolve(asked, KNOWN)
    assert found == meant
    assert str(meant) in how


@pytest.mark.parametrize(("asked", "mend"), [("spring", "2025-Q4"), ("2023-Q1", "from 2024-Q4")])
def test_a_period_that_is_not_there_is_refused_with_what_is(asked: str, mend: str) -> None:
    with pytest.raises(ToolInputError, match=mend):
        resolve(asked, KNOWN)


def test_quarters_before() -> None:
    assert quarter_of(date(2025, 1, 31)) == Quarter(2025, 1)
    assert Quarter(2025, 1).previous == Quarter(2024, 4)
    assert Quarter(2025, 3).a_year_before == Quarter(2024, 3)


def test_a_table_survives_bars_and_line_feeds() -> None:
    assert markdown.table({"a": ["x|y"], "b": ["1\n2"]}).splitlines()[-1] == "| x\\|y | 1 2 |"


class Asked(BaseModel):
    """Arguments of `double`."""

    number: int = Field(ge=0)


class Doubled(BaseModel):
    """Result of `double`."""

    doubled: int


class Double(ComputingTool[Asked]):
    """Twice a number."""

    name: str = "double"
    description: str = "Double a number."
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Doubled:
        return Doubled(doubled=asked.number * 2)


def test_a_tool_answers_in_json() -> None:
    assert Double().run(number=4) == '{"doubled":8}'


def test_a_tool_says_which_argument_is_wrong_and_why() -> None:
    with pytest.raises(ToolInputError, match=r"double: number: .*greater than or equal to 0.*-1"):
        Double()._run(number=-1)  # noqa: SLF001  (what CrewAI calls)
