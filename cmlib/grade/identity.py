"""Who handed in what: the names that learning platforms give to uploads, and names that look alike.

A platform writes the learner first and the learner's own file name last, so that only what stands before the
learner's own words is believed: the first number between underscores ends the name, and what follows it says
which platform wrote it. Canvas takes such numbers out of names (lib/content_zipper.rb), and Moodle takes the
underscores out (mod/assign/locallib.php), so no learner's text can come first.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

CANVAS, ANONYMOUS, MOODLE, PLAIN = "Canvas", "Canvas (anonymous)", "Moodle", ""
FIRST_NUMBER = re.compile(r"_([0-9]+)_")
AFTER_MOODLE = re.compile(r"assignsubmission_(?:file|onlinetext)(?![^_])")
AFTER_CANVAS = re.compile(r"[0-9]+_.", re.DOTALL)  # the number of the attachment, then the learner's own name
NOBODY = re.compile(r"(?:LATE_)?(anon_[A-Za-z0-9]{5})_[0-9]+_.", re.DOTALL)
LONGEST_ID = 18
ALPHABETS = {"ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GREEK", "LATIN"}  # with letters that look alike
OWN = re.compile(r"submission-\d\d(?:_\d\d)*-(?=.)")  # as cmlib.submit() calls its files
ENDINGS = re.compile(r"(?i)(\.ipynb|\.json|\.txt)+$")
# letters of other alphabets, and digits, that look like one of ours (from Unicode's confusables.txt)
LOOKS = str.maketrans(
    "авеёзіјкмнорѕстухԁԛԝһհոսց" "αβεηικνορτυχγω" "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" "01|!ıl",
    "abee3ijkmhopsctyxdqwhhnug" "abenikvoptuxyw" "abezhikmnoptyx" "oiiiii",
)


@dataclass(frozen=True)
class Identity:
    """learner : the name in all tables; id : the platform's number of the learner, "" where it gave none;
    system : whose way of naming it is; own : whether ``cmlib.submit()`` called the file so.
    """

    learner: str
    id: str = ""
    system: str = PLAIN
    own: bool = False


def identify(name: str, is_folder: bool) -> Identity:
    """Who is meant by the name of a file or folder in the folder of submissions."""
    name = unicodedata.normalize("NFC", name)
    if nobody := NOBODY.match(name):
        return Identity(nobody[1], "", ANONYMOUS)
    own = not is_folder and OWN.match(name)  # submission-01_02_03_04-…: these are numbers of lessons
    number = FIRST_NUMBER.search(name)
    if number and len(number[1]) <= LONGEST_ID:
        before, after = name[: number.start()], name[number.end():]
        if AFTER_MOODLE.match(after):
            return Identity(f"{before}_{number[1]}", number[1], MOODLE)
        if AFTER_CANVAS.match(after) and not own:
            before = re.sub(r"(?:^|_)LATE$", "", before, flags=re.IGNORECASE)
            return Identity(f"{before}_{number[1]}", number[1], CANVAS)
    if is_folder:
        return Identity(name)
    stem = ENDINGS.sub("", name) or name
    if stem == name:  # report.pdf is of "report"
        stem = re.sub(r"(?<=.)\.[^.]*$", "", name)
    learner = OWN.sub("", stem, count=1)
    return Identity(learner, own=learner != stem)


def own_name(path: str) -> str:
    """What the learner called a file: the last part of its path, without what a platform wrote before it."""
    folder, _, name = path.rpartition("/")
    number = None if folder else FIRST_NUMBER.search(name)
    before = number and re.match(f"{AFTER_MOODLE.pattern}_?|[0-9]+_", name[number.end():])
    return name[number.end() + before.end():] if before else name


def clash(names: list[str], identities: list[Identity]) -> str:
    """"" where these files or folders can belong to one learner, else the sentence that says why they may
    not: whoever can choose a name could hand in for somebody else.
    """
    first = identities[0]
    one_platform = first.system != PLAIN and all(i.system == first.system for i in identities)
    one_way = all(i.own for i in identities) and len({_spelling(name) for name in names}) == 1
    if len(names) == 1 or one_platform or one_way:
        return ""
    return (f"{listed(sorted(names))} all stand for {first.learner!r}, and only one of them can be theirs: "
            "keep that one, and run the command again.")


def _spelling(name: str) -> str:
    return OWN.sub("", ENDINGS.sub("", name), count=1)


def remarks(people: Collection[tuple[str, str, str]], has_roster: bool = False) -> list[str]:
    """Sentences on what is odd in (learner, id, system) of a whole folder."""
    found, alike, systems = [], defaultdict(list), defaultdict(list)
    for learner, _, system in people:
        alike[skeleton(learner)].append(learner)
        systems[system].append(learner)
    for names in sorted(alike.values()):
        if len(names) > 1:
            found.append(f"{listed(sorted(names), repr)} look alike: are they different people?")
    mixed = sorted(learner for learner, *_ in people if _mixes_alphabets(learner))
    if mixed:
        found.append(f"Letters of two alphabets stand in one word of {listed(mixed, repr)}: is this the name "
                     "that it seems to be?")
    if len(systems) > 1 and not has_roster:
        most = max(systems, key=lambda system: len(systems[system]))
        others = sorted(name for system, names in systems.items() if system != most for name in names)
        way = f"as {most} names uploads" if most else "by a plain name"
        found.append(f"{len(systems[most])} of {len(people)} learners are named {way}, and not "
                     f"{listed(others, repr)}. So no number in a file's name is believed: move what is of "
                     "another kind to a folder of its own, or give --roster.")
    return found


def skeleton(name: str) -> str:
    """Equal for names that the eye cannot tell apart, or hardly: case, spaces, signs, other alphabets."""
    plain = unicodedata.normalize("NFKC", name).translate(LOOKS).casefold().translate(LOOKS)
    letters = "".join(c for c in unicodedata.normalize("NFC", plain) if c.isalnum())
    return letters.replace("rn", "m").replace("vv", "w") or name


def _mixes_alphabets(name: str) -> bool:
    words = re.findall(r"[^\W\d_]+", name)
    scripts = ({unicodedata.name(letter, "?").split()[0] for letter in word} & ALPHABETS for word in words)
    return any(len(found) > 1 for found in scripts)


def folded(name: str) -> str:
    """Equal for spellings of one name in which only case, spaces and the form of accents differ."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def match(written: Iterable[str], learners: Mapping[str, str]) -> dict[str, str | None]:
    """{name as an instructor wrote it: the one learner whom it means, or None}.

    learners : {learner: the name that a roster gives, or ""}
    A learner's own name goes first; then case, spaces, accents' form and "Souza, Ana" for "Ana Souza" may
    differ, where that leaves one learner alone.
    """
    spelled = defaultdict(set)
    for learner, name in learners.items():
        for one in (learner, name, _turned(learner), _turned(name)):
            if one:
                spelled[folded(one)].add(learner)
    out = {}
    for one in written:
        means = spelled[folded(one)] | spelled[folded(_turned(one) or one)]
        out[one] = one if one in learners else means.pop() if len(means) == 1 else None
    taken = {learner for one, learner in out.items() if one == learner}
    return {one: learner if one == learner or learner not in taken else None for one, learner in out.items()}


def _turned(name: str) -> str:
    """"Souza, Ana" as "Ana Souza"."""
    last, comma, first = name.partition(",")
    return f"{first.strip()} {last.strip()}" if comma and "," not in first else ""


def nearest(written: str, learners: Iterable[str]) -> str | None:
    """The learner whose name is close to ``written``, if any."""
    by_letters = {" ".join(sorted(folded(one).replace(",", " ").split())): one for one in learners}
    near = difflib.get_close_matches(
        " ".join(sorted(folded(written).replace(",", " ").split())), by_letters, 1, cutoff=0.75
    )
    return by_letters[near[0]] if near else None


def listed(names: list[str], show=str, most: int = 6) -> str:
    """"a, b and c", or "a, b, c, d, e, f and 9 more"."""
    shown = [show(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
