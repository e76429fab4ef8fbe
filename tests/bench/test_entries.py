"""Files of experiments that are no YAML, or hold values that YAML's types cannot have, are refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonsieve.errors import ConfigError
from poisonsieve.parsing import read_mapping


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_mapping(path, "grid")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: 2001-13-45", "month must be in 1..12"),
        ("a: [2001-02-30 25:61:00]", ""),
        ("2001-13-45: a", "month must be in 1..12"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: " + "{a: " * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "9" * 5000, "digits"),
        ("a: !!int x", ""),
        ("a: !!float x", ""),
        ("a: !!bool x", ""),
        ("a: !!timestamp x", ""),
        ("? {a: 1}\n: 2", ""),
        ("? [1, 2]\n: 2", ""),
        ("a: &a [*a]", ""),
        ("a: &a {b: *a}", ""),
        ("a: !!python/object/apply:os.system [id]", ""),
        ("a: 1\n---\nb: 2", ""),
        ("a: [1", ""),
        ("a: \x01", ""),
        ("a: 1\na: 2", "stands twice"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(tmp_path, content, says):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    assert says in refusal(path)


@given(st.text(st.sampled_from("ab:[]{}-? &*!<>|'\"#\n0123456789.~,%@")))
def test_any_text_is_a_mapping_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(content)
    try:
        assert isinstance(read_mapping(path, "grid"), dict)
    except ConfigError as error:
        assert "\n" not in str(error)
