"""Small files that are there as a whole, or not at all."""

from nightshift_airflow.json_files import read_json, write_json


def test_what_is_written_is_read_and_replaces_what_was_there(tmp_path):
    file = tmp_path / "new" / "run.json"
    write_json(file, {"a": 1})
    write_json(file, {"b": "ü"})
    assert read_json(file) == {"b": "ü"}
    assert [path.name for path in file.parent.iterdir()] == ["run.json"], "no half file is left"


def test_what_is_missing_torn_or_no_object_says_nothing(tmp_path):
    assert read_json(tmp_path / "none.json") == {}
    for text in ('{"a": ', "[1]", ""):
        (tmp_path / "file.json").write_text(text)
        assert read_json(tmp_path / "file.json") == {}
