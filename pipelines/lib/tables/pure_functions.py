"""The SQL that an expression of ``params.yaml`` may use: its value follows from its arguments alone.

The lists name what is allowed. A function that a later DuckDB adds is refused until somebody puts it here, and
``tests/pipelines/lib/tables/test_pure_functions.py`` calls every one of them under two clocks, time zones and locales.

Left out on purpose: `age` (with one argument it reads the clock; use `date_diff`), `strptime` and `to_timestamp` (they may give a
time with a zone that nobody has declared), `hash` (DuckDB may change it), `UNBOUNDED`, and everything on JSON, files and catalogs.
"""

GROUPS = {
    "Operators": ("+ - * / // % & | << >> ~ ^ ** ^@ || ~~ ~~* ~~~ !~~ !~~* = != < > <= >="),
    "Numbers": (
        "abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp "
        "factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least "
        "least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even "
        "roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor"
    ),
    "Text": (
        "ascii bin bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein ends_with "
        "format_bytes hamming hex ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left "
        "left_grapheme len length length_grapheme levenshtein like_escape lower ltrim md5 mismatches nfc_normalize "
        "not_ilike_escape not_like_escape ord overlay position prefix regexp_escape regexp_extract regexp_full_match "
        "regexp_matches regexp_replace replace reverse right right_grapheme rtrim sha1 sha256 split_part "
        "starts_with strip_accents strlen strpos substr substring substring_grapheme suffix to_base translate trim ucase "
        "unicode upper url_decode url_encode"
    ),
    "Dates and times": (
        "century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth "
        "dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day "
        "make_date make_time make_timestamp make_timestamp_ms microsecond millennium millisecond minute month monthname "
        "nanosecond quarter second strftime time_bucket to_centuries to_days to_decades to_hours to_microseconds "
        "to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_weeks to_years week weekday weekofyear "
        "year yearweek"
    ),
    "Choices": ("constant_or_null if nullif"),
}
"""The functions and operators, in the groups in which docs/reference/features.md lists them."""

PURE_FUNCTIONS = frozenset(" ".join(GROUPS.values()).split())

UNBOUNDED = frozenset({"format", "lpad", "printf", "range", "generate_series", "repeat", "rpad"})
"""Refused, since a number or a format decides how long the result is: gigabytes for one row of any data."""

ZONE_FUNCTION = "timezone"
"""``t AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'``: only twice in a row, since once makes an instant of a wall-clock time and guesses. Of an instant,
once is enough: it gives the wall-clock time."""

ZONED_FUNCTIONS = {
    **dict.fromkeys(
        ("date_trunc", "datetrunc"),
        "write t::DATE for the day, date_trunc('hour', t::TIMESTAMP) for the hour that the clocks show, or time_bucket(INTERVAL 1 HOUR, t) for an instant",
    ),
    **dict.fromkeys(
        ("date_diff", "datediff"),
        "write date_sub('hour', a, b) for the time that has passed, or date_diff('day', a::DATE, b::DATE) for dates",
    ),
}
"""Functions that give wrong answers for an instant in an hour that is shown twice, each with what to write: DuckDB takes the second hour for the first."""

PURE_NODES = frozenset({"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR", "TYPE"})
"""Kinds of nodes of DuckDB's syntax tree."""

PURE_OPERATORS = frozenset(
    {
        "ARRAY_EXTRACT",  # text[1], text[1:3]
        "ARRAY_SLICE",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "OPERATOR_COALESCE",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_IS_NULL",
        "OPERATOR_NOT",
        "OPERATOR_TRY",
    }
)
"""Types of nodes of the kind OPERATOR."""

PURE_TYPES = frozenset(
    {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
    | {"FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "DATE", "TIME", "TIMESTAMP", "INTERVAL"}
)
"""DuckDB's types that a cast may lead to: none that depends on a time zone, a collation or a catalog."""
