"""WebVTT, SubRip and plain words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.clip import Cue, Words
from handler.errors import ActivityError, LimitExceeded, UndecodableMedia
from handler.limits import Limits
from handler.text import parse_text

LIMITS = Limits()


def cues(text: str | bytes) -> list[tuple[float, float, str]]:
    words = parse_text(text, LIMITS)
    assert words.untimed is None
    return [(cue.start_seconds, cue.stop_seconds, cue.text) for cue in words.cues]


def test_webvtt_of_the_specification() -> None:
    text = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: lime }

REGION
id:fred
width:40%

NOTE a comment
of two lines

introduction
00:11.000 --> 00:13.000 vertical:rl align:start
<v Roger Bingham>We are in <i>New York</i> City

NOTE another

00:00:13.000 --> 01:00:16.500 line:0
- Isn't it <00:00:14.000><c.loud>loud</c>?
- &lt;Yes&gt; &amp; no&nbsp;&lrm;
"""
    expected = [
        (11.0, 13.0, "We are in New York City"),
        (13.0, 3_616.5, "- Isn't it loud? - <Yes> & no \u200e"),
    ]
    limits = Limits(max_duration_seconds=4_000.0)
    words = parse_text(text, limits)
    assert [(cue.start_seconds, cue.stop_seconds, cue.text) for cue in words.cues] == expected


def test_srt() -> None:
    text = (
        "1\r\n00:00:01,500 --> 00:00:02,000 X1:10 Y1:5\r\n<i>Open</i> {\\an8}the\r\nwindow\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,250\r\nHe wins 3 &amp; 4\r\n"
    )
    assert cues(text) == [(1.5, 2.0, "Open the window"), (3.0, 4.25, "He wins 3 &amp; 4")]


def test_srt_without_numbers_or_empty_lines() -> None:
    assert cues("00:00:01,000 --> 00:00:02,000\none\n00:00:02,000 --> 00:00:03,000\ntwo") == [
        (1.0, 2.0, "one"),
        (2.0, 3.0, "two"),
    ]
    assert cues("\n\n7\n00:01,000 --> 00:02,000\none\n8\n00:02,000 --> 00:03,000\n22\n") == [
        (1.0, 2.0, "one"),
        (2.0, 3.0, "22"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a man opens the window",
        "WEBVTTX\n\n00:01.000 --> 00:02.000\nno",
        "12\nmen",
        "it takes 00:01,000 --> 00:02,000",
        "5",
    ],
)
def test_all_else_has_no_times(text: str) -> None:
    assert parse_text(text, LIMITS) == Words(untimed=text)
    assert parse_text(f"\n {text}\t\n".encode(), LIMITS) == Words(untimed=text)


def test_a_line_with_an_arrow_that_is_no_timing_line_ends_the_cue() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nfirst\n00:61.000 --> 00:62.000\nlost\n\n00:03.000 --> 00:04.000\nlast"
    assert cues(text) == [(1.0, 2.0, "first"), (3.0, 4.0, "last")]


def test_line_ends_byte_order_mark_and_nul() -> None:
    for end in ("\n", "\r\n", "\r"):
        text = f"\ufeffWEBVTT{end}{end}00:01.000 --> 00:02.000{end}a\0b{end}c{end}"
        assert cues(text) == cues(text.encode()) == [(1.0, 2.0, "ab c")]


def test_lone_surrogates_are_replaced() -> None:
    assert parse_text("a\ud800b", LIMITS).untimed == "a\ufffdb"
    assert parse_text("\ud83d\ude00", LIMITS).untimed == "\U0001f600"


def test_bytes_that_are_no_utf8_say_where() -> None:
    with pytest.raises(UndecodableMedia, match="the text is no UTF-8: wrong byte at offset 7"):
        parse_text(b"\xef\xbb\xbfgr\xc3\xbc\xdf", LIMITS)
    with pytest.raises(UndecodableMedia, match="offset 0"):
        parse_text("words".encode("utf-16"), LIMITS)


def test_cues_are_sorted_and_useless_ones_left_out() -> None:
    text = """WEBVTT

00:05.000 --> 00:06.000
late

00:03.000 --> 00:03.000
no time

00:04.000 --> 00:02.000
backwards

00:01.000 --> 00:02.000
<b></b>

00:01.000 --> 00:03.000
long

00:01.000 --> 00:02.000
short

0:09:00.000 --> 0:09:01.000 position:5%
nine minutes

00:01.00 --> 00:02.000
two digits
"""
    assert cues(text) == [
        (1.0, 2.0, "short"),
        (1.0, 3.0, "long"),
        (5.0, 6.0, "late"),
        (540.0, 541.0, "nine minutes"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        b"",
        b"\xef\xbb\xbf",
        "\0",
        "WEBVTT",
        "WEBVTT\n\n00:01.000 --> 00:02.000\n",
        "1\n00:00:01,000 --> 00:00:02,000",
    ],
)
def test_no_words(text: str | bytes) -> None:
    with pytest.raises(UndecodableMedia, match="the text has no words"):
        parse_text(text, LIMITS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 101, "the text has 101 characters or more, the limit is 100"),
        (b"\xf0\x9f\x98\x80" * 101, "the text has 101 characters or more, the limit is 100"),
        ("1\n00:00:01,000 --> 00:00:02,000\nx\n" * 2, "the text has 2 cues or more, the limit is 1"),
        ("WEBVTT\n\n00:01.000 --> 00:03.500\nx", r"the cues span 2\.500 s, the limit is 2 s"),
    ],
)
def test_limits(text: str | bytes, message: str) -> None:
    with pytest.raises(LimitExceeded, match=message):
        parse_text(text, Limits(max_text_characters=100, max_cues=1, max_duration_seconds=2.0))


@pytest.mark.parametrize(
    "unit",
    ["<", "<<a", "{\\", "&", "&amp", "-->", "--> ", "\n", "0", "00:", "1\n", " ", "<a ", "00:00:01,000 ", "\r"],
)
def test_the_time_is_linear_in_the_length(unit: str) -> None:
    head = "WEBVTT\n\n00:01.000 --> 00:02.000\nword\n"
    limits = Limits(max_text_characters=1_000_000)

    def seconds(length: int) -> float:
        started = time.thread_time()
        for text in (head + unit * (length // len(unit)), unit * (length // len(unit)) + "word"):
            parse_text(text, limits)
        return time.thread_time() - started

    small = max(min(seconds(10_000) for _ in range(3)), 0.0005)
    assert min(seconds(200_000) for _ in range(2)) < 100 * small  # 20 times the length; a square would take 400 times


@given(st.one_of(st.text(), st.binary(), st.text("<>&{}\\-:.,0123456789 \n\rWEBVTNOE\0\ud800", max_size=200)))
def test_nothing_but_our_errors(text: str | bytes) -> None:
    try:
        words = parse_text(text, LIMITS)
    except ActivityError:
        return
    assert words.untimed or all(cue.text and cue.stop_seconds > cue.start_seconds for cue in words.cues)


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>&{}\\", exclude_categories=["C", "Z"]), min_size=1)
CUES = st.builds(
    lambda start, length, words: Cue(start / 1000, (start + length) / 1000, " ".join(words)),
    st.integers(0, 300_000),
    st.integers(1, 300_000),
    st.lists(PLAIN, min_size=1, max_size=5),
)


def stamp(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes = milliseconds // 60_000
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000 % 60:02}{mark}{milliseconds % 1000:03}"


@given(st.lists(CUES, min_size=1, max_size=20), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_cues_that_are_written_are_read(written: list[Cue], end: str, is_webvtt: bool) -> None:
    lines = ["WEBVTT", ""] if is_webvtt else []
    for place, cue in enumerate(written):
        times = [stamp(seconds, "." if is_webvtt else ",") for seconds in (cue.start_seconds, cue.stop_seconds)]
        lines += [f"{place + 1}", f"{times[0]} --> {times[1]}", cue.text, ""]
    expected = sorted(written, key=lambda cue: (cue.start_seconds, cue.stop_seconds))
    limits = Limits(max_duration_seconds=1_000.0)
    assert parse_text(end.join(lines), limits) == parse_text(end.join(lines).encode(), limits) == Words(tuple(expected))
