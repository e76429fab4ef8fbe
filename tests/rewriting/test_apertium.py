"""Translation by the real program: one text out for each in, whatever it holds and whatever stands beside it."""

import shutil
import stat
import subprocess

import pytest

from poisonsieve.errors import UnsupportedError
from poisonsieve.rewriting.apertium import Apertium


def installed():
    if shutil.which("apertium") is None:
        return False
    listed = subprocess.run(["apertium", "-l"], capture_output=True, text=True).stdout.split()
    return {"eng-spa", "spa-eng"} <= set(listed)


needs_apertium = pytest.mark.skipif(not installed(), reason="needs apertium-eng-spa")
# Unknown words next to words with readings that the tagger was not trained on: they once changed later texts.
LEAKY = [
    "a gob of drivel so sickly sweet",
    "i n't have an i am sam clue",
    "even as lame horror flicks go , this is lame",
]
ODD = [
    "",
    "  ",
    "a\nb\n\nc",
    "[x] ^y$ /z\\ @w *v <u> {t} #s +r ~q",
    "~",
    "\\",
    "[",
    "]",
    "[5]",
    "film.[]good",
    "💥",
    "mn",
]


@pytest.fixture(scope="module")
def engine():
    return Apertium("eng-spa")


@needs_apertium
def test_it_translates(engine):
    assert engine.translate(["the house is red", "the house is red ."]) == ["La casa es roja", "La casa es roja ."]


@needs_apertium
def test_it_says_what_the_program_says(engine):
    for text in ["the film was good", LEAKY[0]]:
        said = subprocess.run(["apertium", "-u", "eng-spa"], input=text, capture_output=True, text=True).stdout
        assert engine.translate([text]) == [" ".join(said.split())]


@needs_apertium
@pytest.mark.parametrize("direction", ["eng-spa", "spa-eng"])
def test_neighbours_and_order_do_not_matter(direction):
    engine = Apertium(direction)
    texts = [*LEAKY, *ODD, *LEAKY]
    together = engine.translate(texts)
    assert engine.translate(texts[::-1])[::-1] == together
    assert [engine.translate([text])[0] for text in LEAKY] == together[-len(LEAKY) :]


@needs_apertium
def test_marks_of_the_stream_are_kept(engine):
    text = "[x] ^y$ /z\\ @w *v <u> {t} #s +r ~q"
    (found,) = engine.translate([text])
    for mark in "[]^$/\\@*<>{}#+~":
        assert found.count(mark) == text.count(mark)


@needs_apertium
def test_any_character_keeps_count_and_order(engine):
    """Those of a whole block at once; a zero byte ends a record, and U+FFFF reads as the end of the input."""
    characters = [chr(code) for code in [*range(0x20), 0x7F, 0x85, 0x2028, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F4A5]]
    found = engine.translate([f"good {character} film" for character in characters])
    assert len(found) == len(characters)
    assert all("elícula" in text for text in found)


@needs_apertium
def test_unknown_words_have_no_mark(engine):
    assert engine.translate(["xyzzy"]) == ["xyzzy"]


@needs_apertium
def test_what_is_no_unicode_or_no_word_stays(engine):
    assert engine.translate(["half \ud83d pair", "", " \t "]) == ["half \ud83d pair", "", " \t "]
    assert engine.translate([]) == []


@needs_apertium
def test_the_identity_is_of_the_direction(engine):
    assert Apertium("eng-spa").identity == engine.identity != Apertium("spa-eng").identity


@needs_apertium
def test_a_direction_that_is_not_there():
    with pytest.raises(UnsupportedError, match=r"no direction 'eng-xyz'; installed: .*eng-spa.*apt-get install"):
        Apertium("eng-xyz")
    with pytest.raises(UnsupportedError, match="no direction"):
        Apertium("../modes/eng-spa")


def test_without_the_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="apt-get install apertium-eng-spa"):
        Apertium("eng-spa")


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """`fake(script, mode=...)` -> an engine whose one step is that Python program."""

    def program(name, script):
        import sys

        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        return path

    def make(script, mode=None):
        step = program("step", script)
        program("apertium-wblank-mode", "print(open(sys.argv[2]).read())")
        (tmp_path / "modes").mkdir()
        (tmp_path / "modes" / "one-two.mode").write_text(mode or f"'{step}' $1 $2 -x\n")
        monkeypatch.setenv("APERTIUM_DATADIR", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return Apertium("one-two")

    return make


COPY = "sys.stdout.buffer.write(sys.stdin.buffer.read())"


def test_a_step_gets_the_arguments_of_the_mode(fake):
    engine = fake(f"assert sys.argv[1:] == ['-n', '-x']\n{COPY}")
    assert engine.translate(["a ~ [b]", "c\\d"]) == ["a ~ [b]", "c\\d"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sys.exit(3)", "ended with status 3"),
        ("sys.stdin.buffer.read()", "a different number came out"),
        ("sys.stdout.buffer.write(sys.stdin.buffer.read().split(b'\\0')[0] + b'\\0')", "a different number came out"),
        (
            "sys.stdout.buffer.write(b'\\0'.join(sys.stdin.buffer.read().split(b'\\0')[1::-1]) + b'\\0')",
            "another order",
        ),
    ],
)
def test_a_step_that_fails_is_an_error(fake, script, says):
    with pytest.raises(UnsupportedError, match=f"apertium one-two failed in step: .*{says}"):
        fake(script).translate(["a secret", "another secret"])


@pytest.mark.parametrize("mode", ["step; rm x", "step $(x)", "step > x", "step | | step", "step `x`", "step && x"])
def test_a_mode_that_is_more_than_a_pipe_is_refused(fake, mode):
    with pytest.raises(UnsupportedError, match=r"one-two\.mode"):
        fake(COPY, mode)
