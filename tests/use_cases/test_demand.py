"""The data of the use case demand: the same bytes each time, a season of the week, promotions, and a shift."""

from pathlib import Path

import pytest

from use_cases.demand import generate


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        generate.main(["--nights", "2", "--to", str(tmp_path / folder)])
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert [str(path) for path in files] == ["sales/2025-01-01.parquet", "sales/2025-01-02.parquet"]
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "other" / path).read_bytes()


def test_what_is_sold_today_is_what_yesterday_called_tomorrow() -> None:
    rows = generate.demand(days=5).to_pandas().set_index(["day", "product", "shop"]).unstack("day")
    assert rows["sold_tomorrow"].iloc[:, :-1].to_numpy().tolist() == rows["sold_today"].iloc[:, 1:].to_numpy().tolist()


def test_weekday_promotion_and_shift_are_in_the_sales() -> None:
    rows = generate.demand().to_pandas()
    rows = rows[~rows["empty_tomorrow"]]
    tomorrow = rows["day"].map(lambda day: day.toordinal() + 1)
    mean = rows.groupby((tomorrow - 1) % 7)["sold_tomorrow"].mean()
    assert (mean / mean.mean()).to_numpy() == pytest.approx(generate.WEEK, abs=0.12)
    promoted = rows.groupby("promotion_tomorrow")["sold_tomorrow"].mean()
    assert promoted[True] / promoted[False] == pytest.approx(generate.PROMOTION, abs=0.2)
    shifted, busier = tomorrow > generate.SHIFT.toordinal(), rows["shop"].isin([f"S{number}" for number in range(generate.SHOPS // 2)])

    def growth(chosen: object) -> float:
        found = rows[chosen].groupby(shifted)["sold_tomorrow"].mean()
        return float(found[True] / found[False])

    assert growth(busier) / growth(~busier) == pytest.approx(1.5, abs=0.05)
