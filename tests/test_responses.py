"""Words by script: what counts as a word of which language, and what is maths, code or a number."""

import time

import pytest

from tasks.responses import LANGUAGES, SCRIPTS, language_share, script_words
from tasks.rewards.canaries import THOUGHTS

SENTENCES = {
    "Latin": ("en", "The answer is correct.", 4), "Han": ("zh", "答案是正确的", 3), "Kana": ("ja", "こたえはただしい", 8 / 3),
    "Hangul": ("ko", "답은 맞습니다", 2), "Cyrillic": ("ru", "Ответ верный", 2), "Greek": ("el", "Η απάντηση είναι σωστή", 4),
    "Arabic": ("ar", "الإجابة صحيحة", 2), "Hebrew": ("he", "התשובה נכונה", 2), "Devanagari": ("hi", "उत्तर सही है", 3),
    "Bengali": ("bn", "উত্তর সঠিক", 2), "Gurmukhi": ("pa", "ਜਵਾਬ ਸਹੀ ਹੈ", 3), "Gujarati": ("gu", "જવાબ સાચો છે", 3),
    "Tamil": ("ta", "பதில் சரியானது", 2), "Telugu": ("te", "సమాధానం సరైనది", 2), "Kannada": ("kn", "ಉತ್ತರ ಸರಿಯಾಗಿದೆ", 2),
    "Malayalam": ("ml", "ഉത്തരം ശരിയാണ്", 2), "Sinhala": ("si", "පිළිතුර නිවැරදියි", 2), "Thai": ("th", "คำตอบถูกต้อง", 3),
    "Lao": ("lo", "ຄໍາຕອບຖືກ", 9 / 4), "Myanmar": ("my", "အဖြေမှန်", 8 / 5), "Khmer": ("km", "ចម្លើយត្រឹម", 11 / 5),
    "Georgian": ("ka", "პასუხი სწორია", 2), "Armenian": ("hy", "Պատասխանը ճիշտ է", 3), "Ethiopic": ("am", "መልሱ ትክክል ነው", 3),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_counted_as_itself_alone(script):
    language, sentence, words = SENTENCES[script]
    assert script_words(sentence) == {script: pytest.approx(words)}
    assert language_share(sentence, language) == 1.0
    assert language_share(sentence, "en" if script != "Latin" else "zh") == 0.0


def test_japanese_is_written_in_two_scripts():
    assert set(script_words("答えは正しい")) == {"Han", "Kana"}
    assert language_share("答えは正しい", "ja") == 1.0 and 0 < language_share("答えは正しい", "zh") < 1


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 7", "A-1 B+3", "$x^2 + y$", r"\(\sin x\) \[ \int f dx \]", r"\frac{1}{2} \boxed{x}", "`print(x)`",
        "```python\nfor word in text: pass\n```", "```\nnever closed", r"\begin{align} a &= b \end{align}", "x = 3", "2y",
        "https://example.org/some/path", "f(x)", "n^2", "", "１２３ ٣٤ १२",
    ],
)  # fmt: skip
def test_maths_code_and_numbers_are_no_words(text):
    assert language_share(text, "en") in (None, 0.0)
    assert language_share(text, "zh") is None or language_share(text, "zh") == 0.0
    assert language_share(f"{text} 所以答案正确" if "never" not in text else f"所以答案正确 {text}", "zh") == 1.0


def test_money_is_no_maths():
    assert script_words("It costs $5 and then $10 more")["Latin"] == 5


def test_words_keep_their_accents_apostrophes_and_joiners():
    assert script_words("don't naïve co\u0302te\u0301") == {"Latin": 3}
    assert script_words("до\u0301м") == {"Cyrillic": 1}
    assert script_words("می\u200cروم") == {"Arabic": 1}
    assert script_words("क\u094d\u200dष") == {"Devanagari": 1}


def test_a_mixture_is_shared_by_words():
    assert language_share("First 首先 然后 then", "en") == pytest.approx(0.5)
    assert language_share("Сначала First", "ru") == pytest.approx(0.5)


def test_a_tag_with_a_region_is_its_language_and_an_unknown_one_is_an_error():
    assert language_share("答案", "zh-CN") == language_share("答案", "zh_TW") == 1.0
    with pytest.raises(ValueError, match="no script is known for language 'tlh'.*LANGUAGES"):
        language_share("nuqneH", "tlh")


def test_every_language_has_a_known_script_and_canaries_think_in_theirs():
    assert all(script in SCRIPTS for scripts in LANGUAGES.values() for script in scripts)
    for language, sentence in THOUGHTS.items():
        assert language_share(sentence, language) == 1.0, language


@pytest.mark.parametrize(
    "part", ["$x ", "$", "`", "``a ", "\\(", "\\( a", "\\[", "\\begin{a} b", "\\a{", "{", "```", "\0", "\ud800 ", "http://", "A-", "=b"]
)  # fmt: skip
def test_openings_without_end_take_no_time(part):
    start = time.perf_counter()
    language_share(part * (100_000 // len(part)), "en")
    assert time.perf_counter() - start < 2
