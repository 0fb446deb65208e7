r"""What is only presentation in a maths answer, taken away: two answers with the same normal form are the same answer.

Unicode (digits of every script, minus signs, ×, √, ½, ², ≤, full-width forms) becomes ASCII or LaTeX; LaTeX dressing
(`$`, `\left`, `\dfrac`, thin spaces, `\displaystyle`, needless braces) goes; so do spaces, thousands separators, a
leading plus, a final full stop and the final zeros of a decimal. Nothing that may carry meaning goes: units, percent
signs, brackets, order and letters stay (equivalence.py reads those).

No library: RL normalises every rollout's answer here.
"""

import re
import unicodedata

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ"
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")
_PLAIN_SUPERSCRIPT = str.maketrans(_SUPERSCRIPTS, "0123456789-+n")
_SUBSCRIPT = re.compile("[₀-₉]+")
_VULGAR = re.compile("[¼½¾⅐-⅞]")
_CHARACTERS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "‒": "-", "—": "-", "﹣": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ",
    "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "⩽": r"\le ",
    "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∅": r"\emptyset ",
    "∈": r"\in ", "°": r"^\circ ", "≈": r"\approx ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ",
    "φ": r"\phi ", "ℝ": r"\mathbb{R}", "⟨": r"\langle ", "⟩": r"\rangle ", "’": "'", "‘": "'", "“": '"', "”": '"',
    "、": ",", "。": ".", "…": "...", "٫": ".", "٬": ",", "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": "", "¢": r"\text{ cents}",
}  # fmt: skip
_CHARACTER_TABLE = str.maketrans(_CHARACTERS)
_DRESSING = re.compile(
    r"\\\\|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|qquad|quad|mathstrut|hfill|rm|bf|it)(?![a-zA-Z])\s?"
    r"|\\[!,;:> ]|\\\$|\$|~|\\[()\[\]](?![a-zA-Z])|\\hspace\{[^{}]*\}|\\phantom\s*(?:\{[^{}]*\}|-)"
)
_SPELLINGS = re.compile(
    r"\\(?:(?P<frac>[dtc]frac)|(?P<binom>[dt]binom)|(?P<le>leqslant|leq)|(?P<ge>geqslant|geq)|(?P<ne>neq)|(?P<lt>lt)"
    r"|(?P<gt>gt)|(?P<times>times|ast|bullet)|(?P<emptyset>varnothing)|(?P<colon>colon)|(?P<mid>vert|lvert|rvert)"
    r"|(?P<lbrace>lbrace)|(?P<rbrace>rbrace)|(?P<text>mbox|textrm|textnormal|textbf|textit|textsc|textup|textsf|hbox)"
    r"|(?P<percent>%)|(?P<div>div)|(?P<degree>degree|deg))(?![a-zA-Z])[ ]?"
)
_SPELT = {
    "frac": r"\frac", "binom": r"\binom", "le": r"\le ", "ge": r"\ge ", "ne": r"\ne ", "lt": "<", "gt": ">",
    "times": r"\cdot ", "emptyset": r"\emptyset ", "colon": ":", "mid": "|", "lbrace": r"\{", "rbrace": r"\}",
    "text": r"\text", "percent": "%", "div": "/", "degree": r"^\circ ",
}  # fmt: skip
_FRACTION = re.compile(r"\\frac\s*(?:(\d)\s*(\d)(?!\d)|(\d)\s*\{([^{}]*)\}|\{([^{}]*)\}\s*(\d)(?!\d))")
_ROOT = re.compile(r"\\sqrt\s*(\d+|[a-zA-Z](?![a-zA-Z]))")
_BRACED = re.compile(r"([\^_])\s*\{\s*(\\circ|[0-9A-Za-z])\s*\}(?![0-9.])")
_LETTER = re.compile(  # an upright e or i is the constant; any other upright letter is a unit
    r"\\(?:mathrm|operatorname)\s*(?:\{\s*([ei])\s*\}|\s([ei])(?![A-Za-z]))"
    r"|\\(?:mathit|mathbf|mathsf|boldsymbol|bm)\s*(?:\{\s*(\w+)\s*\}|\s(\w)(?![A-Za-z]))"
)
_DIGIT_GROUP = re.compile(r"(?<=\d)(?:,\\!|\{,\}|\\,)\s*(?=\d{3}(?!\d))")
_UPRIGHT = re.compile(r"\\mathrm\s*(?=\{)")
_BOLD = re.compile(r"\\(?:math(?:it|bf|sf)|boldsymbol|bm)\s*(?=\{)")
_INFIX = re.compile(r"\{([^{}]*)\\(over|choose)(?![a-z])([^{}]*)\}")  # plain TeX
_BRACED_GROUPS = re.compile(r"(?<!\\)\{(\d{1,3}(?:,\d{3})+)\}")  # of a fraction, not of a set
_NUMBER_SPACE = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_THOUSANDS = re.compile(r"[^,()\[\]{}]*?(?<![\d.])(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?!\d)[^,()\[\]{}]*")
_DECIMAL = re.compile(r"([+-]?)0*(\d*)\.(\d*?)0*")
_PROGRAM = re.compile(r"([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d+)")
_INFINITY = re.compile(r"(?<![A-Za-z\\])(?:(minus|negative) )?(?:infinity|inf)(?![A-Za-z])", re.IGNORECASE)
_PLAIN_TEXT = re.compile(r"\\text\s*\{\s*([\d.,/+-]+)\s*\}")
_BETWEEN = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
_COMMAND_SPACE = re.compile(r"(?<=[A-Za-z0-9}]) (?=\\)|(\\[A-Za-z]+) (?![A-Za-z])")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_DEGREE_WORD = re.compile(r"\s*(?:\\text\s*\{\s*degrees?\s*\}|\bdegrees?)$")
MAX_CHARS = 4000  # longer text is prose, and is compared as it stands


def normalise(answer: str) -> str:
    r"""The normal form of an answer. Idempotent on ordinary answers; never raises.

    Commas are thousands separators only inside the one, unspaced number of an answer without brackets, and a space
    between two letters or digits stays: `1, 234` is no `1234` and `1 1/2` is no `11/2`.
    """
    answer = answer.strip()
    if answer.isascii() and answer.isdigit() or len(answer) > MAX_CHARS:
        return answer
    if not answer.isascii():
        answer = ascii_maths(answer)
    if "\\" in answer or "$" in answer or "~" in answer or "{" in answer:
        answer = _latex(answer)
    if "inf" in answer.lower():
        answer = _INFINITY.sub(lambda m: r"-\infty " if m[1] else r"\infty ", answer)
    answer = " ".join(answer.split())
    if match := _PROGRAM.fullmatch(answer):
        answer = rf"{match[1]}\cdot10^{{{int(match[2])}}}" if len(match[2]) < 6 else answer
    if _NUMBER_SPACE.fullmatch(answer):
        answer = answer.replace(" ", "")
    if "," in answer and _THOUSANDS.fullmatch(answer):
        answer = answer.replace(",", "")
    answer = _BETWEEN.sub("", answer).removesuffix(".")
    if match := _DECIMAL.fullmatch(answer):
        sign, whole, part = match.groups()
        if whole or part or "0" in answer:
            answer = f"{sign}{whole or '0'}" + (f".{part}" if part else "")
    return answer.removeprefix("+")


def ascii_maths(text: str) -> str:
    """Unicode as ASCII or LaTeX; letters of other scripts stay as they are."""
    text = _SUPERSCRIPT.sub(lambda m: "^{" + m[0].translate(_PLAIN_SUPERSCRIPT) + "}", text)
    text = _SUBSCRIPT.sub(lambda m: "_{" + "".join(str(unicodedata.digit(c)) for c in m[0]) + "}", text)
    text = _VULGAR.sub(_vulgar, text).translate(_CHARACTER_TABLE)
    return "".join(c if c.isascii() else _plain(c) for c in text)


def _plain(c: str) -> str:
    if (digit := unicodedata.decimal(c, None)) is not None:
        return str(digit)
    if "\uff01" <= c <= "\uff5e":  # full-width ASCII
        return chr(ord(c) - 0xFEE0)
    return " " if unicodedata.category(c) == "Zs" else c


def _vulgar(match: re.Match) -> str:
    above, below = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return rf"\frac{{{above}}}{{{below}}}"


def _latex(answer: str) -> str:
    answer = _DIGIT_GROUP.sub("", answer).replace("{,}", ",").replace("{.}", ".")
    answer = answer.replace(r"\(", " ").replace(r"\)", " ").replace(r"\[", " ").replace(r"\]", " ").strip()
    answer = _SPELLINGS.sub(lambda m: _SPELT[m.lastgroup], _DRESSING.sub(_undressed, answer)).strip()
    if match := _BOXED.fullmatch(answer):
        answer = match[1].strip()
    answer = _LETTER.sub(_letter, answer)
    answer = _BOLD.sub("", _UPRIGHT.sub(r"\\text", answer))
    answer = _PLAIN_TEXT.sub(r"\1", answer)
    answer = _BRACED.sub(r"\1\2", answer)
    answer = _DEGREE_WORD.sub(r"^\\circ", answer) if "degree" in answer else answer
    answer = _INFIX.sub(
        lambda m: rf"\{'frac' if m[2] == 'over' else 'binom'}{{{m[1].strip()}}}{{{m[3].strip()}}}", answer
    )
    answer = _BRACED_GROUPS.sub(lambda m: m[0].replace(",", ""), answer)
    for _ in range(3):  # nested fractions
        answer = _FRACTION.sub(_fraction, answer)
    answer = _ROOT.sub(r"\\sqrt{\1}", answer)
    return _COMMAND_SPACE.sub(lambda m: m[1] or "", " ".join(answer.split()))


def _undressed(match: re.Match) -> str:
    if match[0] == r"\\":  # the end of a matrix row
        return match[0]
    return " " if match[0] in ("~", r"\ ") or "quad" in match[0] else ""


def _letter(match: re.Match) -> str:
    glued = match.start() and match.string[match.start() - 1].isalpha()
    return " " * bool(glued) + next(group for group in match.groups() if group)


def _fraction(match: re.Match) -> str:
    above, below = next((a, b) for a, b in zip(match.groups()[::2], match.groups()[1::2]) if a is not None)
    return rf"\frac{{{above}}}{{{below}}}"


def integer(normalised: str) -> int | None:
    """The integer that a normal form is, or None."""
    return int(normalised) if _INTEGER.fullmatch(normalised) else None
