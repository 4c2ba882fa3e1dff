"""What lateness costs: a policy in a TOML file, never code.

    due = 2026-03-01T23:59:00        # on the wall clock of time_zone, or with an offset such as +01:00
    time_zone = "Europe/Berlin"
    grace_minutes = 15               # so many minutes count as on time
    per_day = 0.1                    # share of the points for every day that has begun
    at_most = 0.5                    # no more than this share is taken
    not_after = 2026-03-15T23:59:00  # from then on nothing is counted
    [extensions]                     # another due date, which moves not_after as well
    "Ada Lovelace_1234" = 2026-03-08T23:59:00

A day is one on the wall clock: it has 23 or 25 hours when the clock is changed.
"""

from __future__ import annotations

import csv
import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from cmlib.grade import identity

FIELDS = ("due", "time_zone", "grace_minutes", "per_day", "at_most", "not_after", "extensions")
YEARS = range(2000, 2200)
MOST_DAYS = 36_525  # after a century the days are no longer counted


@dataclass(frozen=True)
class Policy:
    """All times are in UTC; ``zone`` says when a day ends. ``times`` holds those submissions whose time is
    better known than the file's.
    """

    due: datetime
    zone: tzinfo
    grace: timedelta = timedelta(0)
    per_day: float = 0.0
    at_most: float = 1.0
    not_after: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    times: Mapping[str, datetime] = field(default_factory=dict)

    def factor(self, learner: str, submitted: datetime) -> float:
        """The share of the points that counts, 0 to 1; it never rises as ``submitted``, which is aware, gets
        later.
        """
        return self.explain(learner, submitted)[0]

    def explain(self, learner: str, submitted: datetime) -> tuple[float, str]:
        """(factor, one sentence for the learner)."""
        if submitted.tzinfo is None:
            raise ValueError(f"The time of submission of {learner!r}, {submitted}, has no time zone.")
        submitted = submitted.astimezone(UTC)  # times of one zone would be compared by their wall clocks
        due = self.extensions.get(learner, self.due)
        extended = " (your extension)" if learner in self.extensions else ""
        when = f"due {_say(due, self.zone)}{extended}, submitted {_say(submitted, self.zone)}"
        if submitted <= due + self.grace:
            return 1.0, f"On time: {when}."
        if self.not_after is not None and submitted > (end := self.not_after + (due - self.due)):
            return 0.0, f"Too late to count: {when}, and nothing counts after {_say(end, self.zone)}."
        days = _days(due, submitted, self.zone)
        taken = min(self.at_most, self.per_day * days)
        return round(1 - taken, 10), (f"{days} {'day' if days == 1 else 'days'} late: {when}; "
                                      f"{100 * self.per_day:.4g} % of the points are taken for every day "
                                      "that has begun, "
                                      f"{100 * self.at_most:.4g} % at most, so {100 * (1 - taken):.4g} % of "
                                      "them count.")

    def submitted(self, learner: str, modified: str | None) -> tuple[datetime | None, str]:
        """(the time that counts, where it comes from): of the times file, else ``modified``, ISO 8601, of the
        learner's newest file.
        """
        if learner in self.times:
            return self.times[learner], "that of the list of times"
        try:
            time = datetime.fromisoformat(modified)
        except (TypeError, ValueError):
            return None, "no time of submission is known"
        if time.year not in YEARS:
            return None, f"the newest file has a date in the year {time.year}"
        return time if time.tzinfo else time.replace(tzinfo=UTC), "that of the newest file"


    def matched(self, learners: Mapping[str, str]) -> tuple[Policy, dict[str, str], list[str]]:
        """(the policy by learners' own names, {learner: why their lateness is open}, what to say).

        learners : {learner: the name that a roster gives, or ""}. An instructor's "Souza, Ana" means Ana
        Souza where that leaves no doubt; a name that means nobody is said, never passed over.
        """
        named, doubts, said = {}, {}, []
        for what, given in (("extension of {!r}", self.extensions),
                            ("line of {!r} in the list of times", self.times)):
            means = identity.match(given, learners)
            named[what] = {}
            for written, time in given.items():
                learner, it = means[written], what.format(written)
                if learner is None:
                    near = identity.nearest(written, set(learners) - set(means.values()))
                    hint = f"; did you mean {near!r}?" if near else "."
                    said.append(f"The {it} belongs to nobody who has handed in{hint}")
                    if near:
                        doubts[near] = f"the {it} may be meant for this learner"
                elif learner in named[what]:
                    said.append(f"The {it} is the second one of {learner!r}: keep one.")
                    doubts[learner] = f"there are two: the {it} is the second"
                else:
                    named[what][learner] = time
        extensions, times = named.values()
        return replace(self, extensions=extensions, times=times), doubts, said


def load(path: Path | str, times: Path | str | None = None) -> Policy:
    """The policy in ``path``. ``times``: a CSV file with the columns learner and submitted (ISO 8601)."""
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no late policy {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not TOML: {error}.") from None
    for name in given:
        if name not in FIELDS:
            nearest = difflib.get_close_matches(name, FIELDS, 1, cutoff=0)[0]
            raise ValueError(f"{path.name} has a field {name!r}, which does not exist; did you mean "
                             f"{nearest!r}?")
    if "due" not in given:
        raise ValueError(f"{path.name} has no due date: add a line such as due = 2026-03-01T23:59:00+01:00.")
    zone = _zone(path.name, given)
    due = _time(path.name, "due", given["due"], zone)
    zone = zone or given["due"].tzinfo
    grace = timedelta(minutes=_number(path.name, "grace_minutes", given.get("grace_minutes", 0), 7 * 24 * 60))
    not_after = _time(path.name, "not_after", given["not_after"], zone) if "not_after" in given else None
    if not_after is not None and not_after < due + grace:
        raise ValueError(f"{path.name}: not_after, {not_after}, lies before the end of the grace period, "
                         f"{due + grace}.")
    extensions = given.get("extensions", {})
    if type(extensions) is not dict:
        raise ValueError(f'{path.name}: extensions is a table, [extensions], with lines such as "learner" = '
                         '2026-03-08T23:59:00.')
    extensions = {
        learner: _time(path.name, f"the extension of {learner!r}", time, zone)
        for learner, time in extensions.items()
    }
    for learner, time in extensions.items():
        if time < due:
            raise ValueError(f"{path.name}: the extension of {learner!r}, {time}, ends before everyone's due "
                             f"date, {due}.")
    return Policy(due, zone, grace, _number(path.name, "per_day", given.get("per_day", 0), 1),
                  _number(path.name, "at_most", given.get("at_most", 1), 1), not_after, extensions,
                  _times(Path(times), zone) if times is not None else {})


def _times(path, zone) -> dict[str, datetime]:
    try:
        reader = csv.DictReader(path.read_text("utf-8-sig").splitlines())
        rows, columns = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise FileNotFoundError(f"There is no list of times {path}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is not a CSV file: {error}.") from None
    if not {"learner", "submitted"} <= set(columns):
        found = ",".join(columns) if columns else "nothing"
        raise ValueError(f"{path.name} begins with {found!r}; the first line of a list of times is "
                         "'learner,submitted'.")
    if not rows:
        raise ValueError(f"{path.name} has no line with a time: add some, or leave --times out, so that the "
                         "dates of the files count.")
    times = {}
    for number, row in enumerate(rows, 2):
        learner, text, where = row.get("learner"), row.get("submitted"), f"{path.name}, line {number}"
        if None in row:
            raise ValueError(f"{where}: there are more cells than in the first line; put a name that has a "
                             'comma in quotes, "Souza, Ana".')
        if not learner or not text:
            raise ValueError(f"{where}: every line needs the columns learner and submitted.")
        if learner in times:
            raise ValueError(f"{where}: {learner!r} stands there twice.")
        try:
            time = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"{where}: {text!r} is no time such as 2026-03-01T23:59:00+01:00.") from None
        if not re.search(r"[T ]\d\d", text.strip()):  # Python would read midnight
            raise ValueError(f"{where}: {text!r} is a date without a time; write such as "
                             "2026-03-01T23:59:00+01:00.")
        times[learner] = _time(where, "submitted", time, zone)
    return times


def _zone(file, given) -> tzinfo | None:
    if "time_zone" not in given:
        return None
    try:
        return ZoneInfo(given["time_zone"])
    except (TypeError, ValueError, OSError, KeyError, AttributeError):
        raise ValueError(f'{file}: there is no time_zone {given["time_zone"]!r}; give a name such as '
                         '"Europe/Berlin" or "UTC" '
                         "(and install tzdata if no name is known).") from None


def _time(file, name, value, zone) -> datetime:
    if type(value) is not datetime:
        raise ValueError(f"{file}: {name} = {value!r} is no point in time; write date and time, without "
                         "quotes, "
                         "such as 2026-03-01T23:59:00+01:00.")
    if value.year not in YEARS:
        raise ValueError(f"{file}: {name} is in the year {value.year}.")
    if value.tzinfo is not None:
        return value.astimezone(UTC)
    if zone is None:
        raise ValueError(f"{file}: {name} = {value} says no time zone; add an offset such as +01:00, or the "
                         "field time_zone.")
    early, late = (value.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if early.utcoffset() != late.utcoffset():
        found = "does not exist" if early.utcoffset() < late.utcoffset() else "happens twice"
        raise ValueError(f"{file}: {name} = {value} {found} in {zone}, where the clock is changed; add an "
                         "offset such as +01:00.")
    return early.astimezone(UTC)


def _number(file, name, value, most) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{file}: {name} = {value!r} is to be a number from 0 to {most}.")
    return float(value)


def _days(due: datetime, submitted: datetime, zone) -> int:
    """How many days of the wall clock in ``zone`` have begun after ``due``; all in UTC."""
    days, wall = math.ceil((submitted - due) / timedelta(days=1)), due.astimezone(zone)

    def end(day):
        return (wall + timedelta(days=day)).astimezone(UTC)
    if days >= MOST_DAYS:
        return MOST_DAYS
    while end(days) < submitted:
        days += 1
    while days > 1 and end(days - 1) >= submitted:
        days -= 1
    return days


def _say(time: datetime, zone) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M %Z}"
