"""CSV: what Python and pandas write comes back, and a stray quote costs its own line only."""

import csv
import io
import time

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poisonsieve.data.csv_rows import csv_rows

FIELD = st.text(st.sampled_from("ab\",\r\n \t'é\u2028"), max_size=8)


def rows(content: bytes, **options):
    return list(csv_rows(io.BytesIO(content), **options))


def fields(content: bytes):
    return [row.fields for row in rows(content)]


@given(st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_csv_writer_writes_comes_back(table, end, quote_all):
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL).writerows(
        [[field.replace("\r", "") if end == "\n" and not quote_all else field for field in row] for row in table]
    )
    assert fields(stream.getvalue().encode()) == list(csv.reader(io.StringIO(stream.getvalue(), newline="")))


@given(st.lists(FIELD.map(lambda text: text.replace("\r", "\r\n")), min_size=1))
def test_what_pandas_writes_comes_back(texts):
    content = pd.DataFrame({"text": texts, "label": 1}).to_csv().encode()
    assert fields(content) == [["", "text", "label"], *([str(at), text, "1"] for at, text in enumerate(texts))]


@given(st.text(st.sampled_from('a,"\n\r'), max_size=60))
@example('a"b,"c\nd",e\n')
@example('"a"\r\r\n')
def test_a_file_that_is_csv_is_read_as_python_reads_it(content):
    try:
        wanted = [row for row in csv.reader(io.StringIO(content, newline="\n"), strict=True) if row]
    except csv.Error:
        return
    if len({len(row) for row in wanted}) == 1:
        assert fields(content.encode()) == wanted


@given(st.lists(st.text(st.sampled_from('ab,"'), max_size=6)), st.integers(1, 40))
def test_every_line_belongs_to_exactly_one_row(lines, longest):
    """A row is told by what it stands for: in error its own line; else the lines that its line breaks go over."""
    lines = ["x,y", *lines]
    content = "".join(line + "\n" for line in lines)
    covered = []
    for row in rows(content.encode(), longest_quoted=longest):
        breaks = sum(field.count("\n") for field in row.fields)
        covered += range(row.line, row.line + breaks + 1)
    blank = {number for number, line in enumerate(lines, 1) if not line}
    assert [number for number in covered if number not in blank] == sorted({*range(1, len(lines) + 1)} - blank)


def test_an_unclosed_quote_costs_its_line():
    found = rows(b'text,id\nfine,1\n"5 inch screen,2\nmn next,3\nhe said "so" here,4\n"open,5\nlast,6')
    assert [row.line for row in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [row.line for row in found if row.error] == [3, 6]
    assert found[2].error == "not CSV (text after a closing quote on line 5; the quote opened on line 3)"
    assert found[5].error == "not CSV (the quote opened on line 6 is not closed)"
    assert found[4].fields == ['he said "so" here', "4"]


def test_a_quote_that_another_stray_one_closes_is_told_by_the_number_of_fields():
    found = rows(b'text,id\n"5 inch,2\nmn next,3\nsix inches",4\nlast,5\n')
    assert [row.line for row in found] == [1, 2, 5]  # as good a row as any: nothing tells it from one that was meant
    found = rows(b'text,id\n"5 inch,2\nmn next,3\nsix inches",4,5\nlast,5\n')
    assert [(row.line, row.error is None) for row in found] == [
        (1, True),
        (2, False),
        (3, True),
        (4, True),
        (5, True),
    ]
    assert found[1].error == ("more than 2 fields in lines 2 to 4, but the header has 2; a quote opened on line 2")


def test_the_line_of_the_quote_that_is_open_is_named():
    found = rows(b'a,b,c\n"one\ntwo","three\nfour\n')
    assert found[1].error == "not CSV (the quote opened on line 3 is not closed)"
    assert [row.line for row in found] == [1, 2, 3, 4]


def test_a_quoted_field_goes_on_for_so_long_only():
    content = b'text\n"' + b"line\n" * 20 + b'end"\n'
    assert len(rows(content)) == 2
    found = rows(content, longest_quoted=50)
    assert found[1].error == "not CSV (the quote opened on line 2 is not closed within 50 characters)"
    assert len(found) == 22


@pytest.mark.parametrize("line", [b'"open,1\n', b'a","c\n', b'"",""x\n', b'""",x\n', b'x,"\n'])
def test_many_stray_quotes_are_read_in_linear_time(line):
    def seconds(count):
        started = time.process_time()
        rows(b"text,label\n" + line * count)
        return time.process_time() - started

    assert seconds(40_000) < 50 * max(seconds(4_000), 0.02)  # a hundred times, were it quadratic


def test_reading_streams():
    def endless():
        yield b"text,label\n"
        while True:
            yield b'"a\n'
            yield b'b",1\n'

    found = csv_rows(endless())
    assert [next(found).line for _ in range(3)] == [1, 2, 4]
