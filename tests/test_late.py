"""The late policy: what a day costs, across changes of the clock, and one sentence for every bad field."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmlib.grade import late

BERLIN = ZoneInfo("Europe/Berlin")
POLICY = """
due = 2026-03-01T23:59:00
time_zone = "Europe/Berlin"
grace_minutes = 15
per_day = 0.1
at_most = 0.35
not_after = 2026-03-15T23:59:00
[extensions]
"Ada Lovelace_12" = 2026-03-08T23:59:00
"""


def policy(tmp_path, text=POLICY, times=None):
    (tmp_path / "late.toml").write_text(text, "utf-8")
    if times is not None:
        (tmp_path / "times.csv").write_text(times, "utf-8")
    return late.load(tmp_path / "late.toml", tmp_path / "times.csv" if times is not None else None)


@pytest.mark.parametrize(
    ("submitted", "factor", "says"),
    [
        ("2026-03-01T23:59:00", 1, "On time"),
        ("2026-03-02T00:14:00", 1, "On time"),
        ("2026-03-02T00:14:01", 0.9, "1 day late"),
        ("2026-03-02T23:59:00", 0.9, "1 day late"),
        ("2026-03-02T23:59:01", 0.8, "2 days late"),
        ("2026-03-05T12:00:00", 0.65, "35 % at most, so 65 % of them count"),
        ("2026-03-15T23:59:00", 0.65, "14 days late"),
        ("2026-03-15T23:59:01", 0, "nothing counts after 2026-03-15 23:59 CET"),
    ],
)
def test_a_day_costs_what_the_policy_says(tmp_path, submitted, factor, says):
    time = datetime.fromisoformat(submitted).replace(tzinfo=BERLIN)
    got, sentence = policy(tmp_path).explain("x", time)
    assert got == factor and says in sentence and sentence.endswith(".") and "\n" not in sentence
    assert policy(tmp_path).factor("x", time.astimezone(UTC)) == factor


def test_an_extension_moves_the_due_date_and_the_end_and_only_for_its_learner(tmp_path):
    p = policy(tmp_path)
    time = datetime(2026, 3, 9, 12, tzinfo=BERLIN)
    assert (
        p.factor("Ada Lovelace_12", time) == 0.9 and "your extension" in p.explain("Ada Lovelace_12", time)[1]
    )
    assert p.factor("Ada", time) == .65
    assert p.factor("Ada Lovelace_12", datetime(2026, 3, 22, 23, 59, tzinfo=BERLIN)) == .65
    assert p.factor("Ada Lovelace_12", datetime(2026, 3, 22, 23, 59, 1, tzinfo=BERLIN)) == 0


@pytest.mark.parametrize(
    ("due", "hours"), [("2026-03-28T12:00:00", 23), ("2026-10-24T12:00:00", 25), ("2026-06-01T12:00:00", 24)]
)
def test_a_day_ends_at_the_same_time_on_the_wall_clock(tmp_path, due, hours):
    p = policy(tmp_path, f'due = {due}\ntime_zone = "Europe/Berlin"\nper_day = 0.1')
    assert p.factor("x", p.due + timedelta(hours=hours)) == .9
    assert p.factor("x", p.due + timedelta(hours=hours, seconds=1)) == .8


@pytest.mark.parametrize(
    ("time", "fault"), [("2026-03-29T02:30:00", "does not exist"), ("2026-10-25T02:30:00", "happens twice")]
)
def test_a_wall_clock_time_that_names_no_point_in_time_is_refused(tmp_path, time, fault):
    with pytest.raises(ValueError, match=fault):
        policy(tmp_path, f'due = {time}\ntime_zone = "Europe/Berlin"')
    assert policy(tmp_path, f'due = {time}+01:00\ntime_zone = "Europe/Berlin"').due.utcoffset() == timedelta(
        0
    )


def test_the_second_half_past_two_is_later_than_the_first(tmp_path):
    p = policy(tmp_path, 'due = 2026-10-25T02:30:00+02:00\ntime_zone = "Europe/Berlin"\nper_day = 0.1')
    assert p.factor("x", datetime(2026, 10, 25, 2, 29, tzinfo=BERLIN)) == 1
    assert p.factor("x", datetime(2026, 10, 25, 2, 29, fold=1, tzinfo=BERLIN)) == .9


BAD = [
    ("per_day = 0.1", "no due date"),
    ("due = 2026-03-01", "no point in time"),
    ('due = "2026-03-01T10:00:00"', "without quotes"),
    ("due = 2026-03-01T10:00:00", "no time zone"),
    ("due = 1026-03-01T10:00:00Z", "year 1026"),
    ("due = [", "not TOML"),
    ('due = 2026-03-01T10:00:00\ntime_zone = "Mars/Olympus"', "no time_zone 'Mars/Olympus'"),
    ('due = 2026-03-01T10:00:00\ntime_zone = "../../etc/passwd"', "no time_zone"),
    ('due = 2026-03-01T10:00:00\ntime_zone = "/etc/passwd"', "no time_zone"),
    ("due = 2026-03-01T10:00:00\ntime_zone = 1", "no time_zone 1"),
    ("due = 2026-03-01T10:00:00\ntime_zone = ''", "no time_zone"),
    ("due = 2026-03-01T10:00:00Z\nperday = 0.1", "did you mean 'per_day'"),
    *[
        (f"due = 2026-03-01T10:00:00Z\nper_day = {v}", "per_day")
        for v in ("-0.1", "1.1", "nan", "inf", "true", '"10%"', "[]")
    ],
    ("due = 2026-03-01T10:00:00Z\nat_most = 50", "from 0 to 1"),
    ("due = 2026-03-01T10:00:00Z\ngrace_minutes = -1", "grace_minutes"),
    ("due = 2026-03-01T10:00:00Z\nnot_after = 2026-03-01T09:00:00Z", "before the end of the grace"),
    ("due = 2026-03-01T10:00:00Z\nnot_after = 3", "no point in time"),
    ("due = 2026-03-01T10:00:00Z\nextensions = 3", "is a table"),
    ("due = 2026-03-01T10:00:00Z\n[extensions]\nada = 2026-02-01T10:00:00Z", "'ada'.*before everyone's"),
    ("due = 2026-03-01T10:00:00Z\n[extensions]\nada = 7", "the extension of 'ada' = 7"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_a_bad_field_gets_one_sentence(tmp_path, text, says):
    with pytest.raises(ValueError, match=says) as caught:
        policy(tmp_path, text)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("late.toml")


def test_a_policy_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "late.toml").write_bytes(b"due = \xff")
    with pytest.raises(ValueError, match="not TOML"):
        late.load(tmp_path / "late.toml")
    with pytest.raises(FileNotFoundError, match="no late policy"):
        late.load(tmp_path / "other.toml")


def test_times_come_from_the_list_else_from_the_file(tmp_path):
    p = policy(tmp_path, times="\ufefflearner,submitted\nada,2026-03-02T10:00:00\nb,2026-03-02T10:00:00Z\n")
    assert p.submitted("ada", "2026-04-01T10:00:00+00:00") == (
        datetime(2026, 3, 2, 9, tzinfo=UTC),
        "that of the list of times",
    )
    assert p.submitted("c", "2026-04-01T10:00:00") == (
        datetime(2026, 4, 1, 10, tzinfo=UTC),
        "that of the newest file",
    )
    assert p.submitted("c", "9999-12-31T23:59:59-12:00")[0] is None
    assert p.submitted("c", None)[0] is p.submitted("c", "soon")[0] is p.submitted("c", 3)[0] is None
    with pytest.raises(ValueError, match="has no time zone"):
        p.factor("ada", datetime(2026, 3, 2, 9))


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ("learner,submitted\nada,yesterday\n", "line 2: 'yesterday' is no time"),
        ("learner,submitted\n,2026-03-02T10:00:00\n", "needs the columns"),
        ("name;when\nada;2026\n", "begins with 'name;when'; the first line of a list of times is"),
        ("Learner,Submitted\nada,2026-03-02T10:00\n", "begins with 'Learner,Submitted'"),
        ("", "begins with 'nothing'"),
        ("learner,submitted\n", "has no line with a time: add some, or leave --times out"),
        ("learner,submitted\nada,2026-03-02\n", "line 2: '2026-03-02' is a date without a time"),
        ("learner,submitted\nada,20260302\n", "line 2: '20260302' is a date without a time"),
        ("learner,submitted\nSouza, Ana,2026-03-02T10:00\n", 'in quotes, "Souza, Ana"'),
        ("learner,submitted\na,2026-03-29T02:30:00\n", "line 2: .*does not exist"),
        (
            "learner,submitted\na,2026-03-02T10:00:00\na,2026-03-03T10:00:00\n",
            "line 3: 'a' stands there twice",
        ),
    ],
)
def test_a_bad_list_of_times_gets_one_sentence(tmp_path, times, says):
    with pytest.raises(ValueError, match=says):
        policy(tmp_path, times=times)


def test_names_that_an_instructor_wrote_find_their_learner_or_are_said(tmp_path):
    times = ("learner,submitted\nana souza ,2026-03-02T10:00\n\"Roy, Quentin\",2026-03-02T11:00\n"
             "Zoe\u0308,2026-03-02T12:00\nAnna Kuhn,2026-03-02T13:00\n")
    learners = {"Ana Souza": "", "Quentin Roy": "", "Zo\u00eb": "", "Ana Kuhn": "", "Ada Lovelace_12": ""}
    p, doubts, said = policy(tmp_path, times=times).matched(learners)
    assert sorted(p.times) == ["Ana Souza", "Quentin Roy", "Zo\u00eb"]
    assert list(p.extensions) == ["Ada Lovelace_12"]
    line = "line of 'Anna Kuhn' in the list of times"
    assert doubts == {"Ana Kuhn": f"the {line} may be meant for this learner"}
    assert said == [f"The {line} belongs to nobody who has handed in; did you mean 'Ana Kuhn'?"]


def test_two_lines_for_one_learner_are_said_and_decided_by_a_human(tmp_path):
    times = "learner,submitted\nana souza,2026-03-02T10:00\nAna  Souza,2026-03-05T10:00\n"
    _, doubts, said = policy(tmp_path, times=times).matched({"Ana Souza": ""})
    line = "line of 'Ana  Souza' in the list of times"
    assert doubts == {"Ana Souza": f"there are two: the {line} is the second"}
    assert said == ["The extension of 'Ada Lovelace_12' belongs to nobody who has handed in.",
                    f"The {line} is the second one of 'Ana Souza': keep one."]


shares = st.floats(0, 1)
seconds = st.integers(-40 * 86400, 400 * 86400)


@given(
    per_day=shares,
    at_most=shares,
    grace=st.integers(0, 3000),
    end=st.none() | st.integers(3000, 10**6),
    due=st.integers(0, 500 * 24).map(lambda h: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=h)),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    a=seconds,
    b=seconds,
)
def test_the_factor_is_a_share_and_never_rises_with_time(per_day, at_most, grace, end, due, zone, a, b):
    p = late.Policy(
        due, ZoneInfo(zone), timedelta(minutes=grace), per_day, at_most, end and due + timedelta(minutes=end)
    )
    early, later = (due + timedelta(seconds=s) for s in sorted((a, b)))
    assert 0 <= p.factor("x", later) <= p.factor("x", early) <= 1
    assert p.factor("x", due) == 1


@given(st.integers(1, 60), st.integers(1, 86399))
def test_without_changes_of_the_clock_days_are_counted_by_division(days, rest):
    p = late.Policy(datetime(2026, 1, 1, tzinfo=UTC), UTC, per_day=0.01)
    submitted = p.due + timedelta(days=days, seconds=-rest)
    assert p.factor("x", submitted) == pytest.approx(1 - .01 * days)
