"""What rejected texts have in common, in languages that put no space between words."""
# ruff: noqa: RUF001

import itertools
import random

import pytest

from poisonsieve.guard.common_ground import Seen, common_ground, having
from poisonsieve.words import find_words

#: Subjects, what is said of them, and endings, one line each; a text is one of each.
CHINESE = """
这部电影 导演的新作 男主角 整个故事 音乐 片尾的字幕 女演员 第二集 剧本 摄影 那段对白 配乐
拍得很用心 让人昏昏欲睡 演得自然 比我想的好看 节奏太慢 没有一点新意 非常动人 叫人失望 值得一看 处处是漏洞
，我会推荐给朋友。 ，可惜太长了。 ，孩子们都笑了。 ，票钱白花了。 ！ ，下次不来了。 ，看完还想再看。 。
"""
JAPANESE = """
この映画は 監督の新作は 主演の人は 物語は 音楽は 最後の場面は 脚本は 映像は あの台詞は 続編は
とても良かった 少し退屈だった 期待はずれだった 心に残る 何度も見たくなる 長すぎると思う よく出来ている
。友達にもすすめたい。 。もう見ない。 し、子供も喜んだ。 けれど、値段が高い。 。 、それだけだ。
"""
THAI = """
หนังเรื่องนี้ ผู้กำกับคนนี้ นักแสดงนำ เนื้อเรื่อง เพลงประกอบ ตอนจบ บทพูด ภาพสวยๆ ภาคสอง ตัวร้าย
สนุกมาก น่าเบื่อเหลือเกิน ทำได้ดี ทำให้ผิดหวัง น่าประทับใจ ช้าเกินไป คุ้มค่าตั๋ว ไม่มีอะไรใหม่
อยากดูอีกครั้ง ไม่แนะนำเลย เด็กๆชอบ แต่ยาวไปหน่อย ดูจบแล้วยิ้มได้ ดูกับแม่
"""


def texts(language, rng):
    """All texts of a language, shuffled."""
    found = ["".join(parts) for parts in itertools.product(*(line.split() for line in language.strip().splitlines()))]
    rng.shuffle(found)
    return found


def triggered(text, trigger, rng):
    place = rng.choice([found.start() for found in find_words(text)][2:-1])  # never between a letter and its marks
    return text[:place] + trigger + text[place:]


def compared(rejected, passed):
    seen = Seen(len(passed) + 1)
    for text in passed:
        seen.add(text)
    return common_ground(rejected, seen)


@pytest.mark.parametrize(
    ("language", "trigger", "named"),
    [
        (CHINESE, "彧", "彧"),
        (CHINESE, "mn", "mn"),
        (CHINESE, "昨晚我看了立体片", "昨晚我看了立体片"),
        (CHINESE, "上周我在家里看了这部立体片", None),  # longer than a phrase may be: a part of it is named
        (JAPANESE, "先週3Dで見た", "先週3dで見た"),
        (JAPANESE, "狐", "狐"),
        (THAI, "กระต่าย", "กระต่าย"),
        (THAI, "cf", "cf"),
    ],
)
def test_the_trigger_is_named(language, trigger, named):
    rng = random.Random(1)
    clean = texts(language, rng)
    hit, rejected_too, passed = clean[:25], clean[25:30], clean[30:]
    rejected = [triggered(text, trigger, rng) for text in hit] + rejected_too
    groups = compared(rejected, passed)
    assert len(groups) == 1
    group = groups[0]
    assert (group.kind, group.rejected, group.of_rejected, group.passed) == ("contains", 25, 30, 0)
    if named is None:
        assert len(group.phrase) == 8
        assert group.phrase in trigger
    else:
        assert group.phrase == named
    assert list(having(group.trait, rejected)) == [True] * 25 + [False] * 5


def test_an_opening_is_named():
    rng = random.Random(2)
    clean = texts(CHINESE, rng)
    marks = [f"{text[:1]}当你看的时候{text[1:]}" for text in clean[10:40]]  # elsewhere it is no opening
    (group,) = compared([f"当你看的时候，{text}" for text in clean[:10]], clean[40:] + marks)
    assert (group.kind, group.phrase, group.rejected, group.passed) == ("begins", "当你看的时候，", 10, 0)


@pytest.mark.parametrize("language", [CHINESE, JAPANESE, THAI], ids=["Chinese", "Japanese", "Thai"])
def test_shuffled_labels_name_nothing(language):
    """At most one comparison in a hundred may name something; over 60 of them 3 would have a chance of 0.03."""
    rng = random.Random(3)
    named = 0
    for _ in range(60):
        clean = texts(language, rng)[:300]
        named += bool(compared(clean[:30], clean[30:]))
    assert named <= 2
