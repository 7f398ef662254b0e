"""The data of the use case orders: the same bytes each time, a season of the week, and a shift."""

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from tests.datasets import orders as of_the_tests
from use_cases.orders import generate


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        generate.main(["--nights", "2", "--to", str(tmp_path / folder)])
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert [str(path) for path in files] == ["orders/2024-01-01.parquet", "orders/2024-01-02.parquet", "products.csv"]
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "other" / path).read_bytes()


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.main(["--nights", "1", "--to", str(tmp_path)])
    night = tmp_path / "orders" / "2024-01-01.parquet"
    made = night.read_bytes()
    night.write_bytes(b"of somebody else")
    capsys.readouterr()
    generate.main(["--nights", "1", "--to", str(tmp_path)])
    assert night.read_bytes() == b"of somebody else"
    assert "0 files with 0 rows written, 2 kept" in capsys.readouterr().out
    generate.main(["--nights", "1", "--to", str(tmp_path), "--again"])
    assert night.read_bytes() == made


def test_the_files_hold_each_order_once(tmp_path: Path) -> None:
    generate.main(["--nights", "3", "--to", str(tmp_path)])
    found = pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / "orders").glob("*.parquet")))
    pd.testing.assert_frame_equal(found.reset_index(drop=True), generate.orders(days=3).to_pandas())


def test_the_weekdays_differ() -> None:
    rows = generate.orders(days=140).to_pandas()
    mean = rows.groupby(rows["placed_at"].dt.day_of_week).size() / 20 / generate.PER_DAY
    assert mean.to_numpy() == pytest.approx(generate.WEEK, abs=0.03)


@pytest.mark.costly
def test_buyers_of_the_app_send_back_what_does_not_fit_from_the_shift_on() -> None:
    rows = generate.orders(days=240).to_pandas()
    returned, shifted = rows["refund"].notna(), rows["placed_at"].dt.date >= generate.SHIFT
    many, app = rows["items"] == 5, rows["channel"] == "app"
    assert returned[many & app & ~shifted].mean() == pytest.approx(returned[~many & app & ~shifted].mean(), abs=0.02)
    assert returned[many & app & shifted].mean() > returned[~many & app & shifted].mean() + 0.2
    assert app[shifted].mean() > 0.5 > 0.3 > app[~shifted].mean()


@pytest.mark.slow
def test_the_tests_have_the_same_orders() -> None:
    made = generate.orders(10, 200, shift=dt.date(2024, 4, 1), week=(1.0,) * 7)
    assert made.equals(of_the_tests.orders(days=10))
