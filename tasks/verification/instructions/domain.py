r"""Instructions that a program can check: the 25 types of IFEval (Zhou et al. 2023, arXiv:2311.07911).

`meta` holds `{"instruction_ids": ["punctuation:no_comma", …], "kwargs": [{…}, …], "strict": true}`; there is no gold.
Each type is one function of the module of its family; its docstring says what it asks for, its parameters are its
kwargs.

- The response is what follows the last `</think>`; where one `<answer>` tag holds all of it, the tag goes.
- A response is ok if it follows every instruction, and the detail names those it does not.
- strict: the response as it stands. Loose (`"strict": false`), as IFEval defines it: an instruction is followed if one
  of eight variants follows it: without the first line, the last line, or both, or as it stands; each also without `*`.
- Only types that ask for a language load a library, in a worker process; all others are decided at once.

Where we differ from IFEval's own code, and why, is a table in docs/verification.md.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import get_args

from tasks.verification.instructions import (
    change_case,
    combination,
    detectable_content,
    detectable_format,
    keywords,
    language,
    length_constraints,
    punctuation,
    startend,
)
from tasks.verification.instructions.text import Relation
from tasks.verification.verdict import Decided, VerificationError

NAME = "instructions"
LIBRARIES = ("langdetect",)
RUNS = "process"
FIRST_SECONDS = 0.1  # of CPU time

SHOWN = 1000  # characters of a response that a verdict keeps as what was judged

CHECKS: dict[str, Callable[..., str | None]] = {
    "keywords:existence": keywords.existence,
    "keywords:frequency": keywords.frequency,
    "keywords:forbidden_words": keywords.forbidden_words,
    "keywords:letter_frequency": keywords.letter_frequency,
    "language:response_language": language.response_language,
    "length_constraints:number_sentences": length_constraints.number_sentences,
    "length_constraints:number_paragraphs": length_constraints.number_paragraphs,
    "length_constraints:number_words": length_constraints.number_words,
    "length_constraints:nth_paragraph_first_word": length_constraints.nth_paragraph_first_word,
    "detectable_content:number_placeholders": detectable_content.number_placeholders,
    "detectable_content:postscript": detectable_content.postscript,
    "detectable_format:number_bullet_lists": detectable_format.number_bullet_lists,
    "detectable_format:constrained_response": detectable_format.constrained_response,
    "detectable_format:number_highlighted_sections": detectable_format.number_highlighted_sections,
    "detectable_format:multiple_sections": detectable_format.multiple_sections,
    "detectable_format:json_format": detectable_format.json_format,
    "detectable_format:title": detectable_format.title,
    "combination:two_responses": combination.two_responses,
    "combination:repeat_prompt": combination.repeat_prompt,
    "startend:end_checker": startend.end_checker,
    "startend:quotation": startend.quotation,
    "change_case:capital_word_frequency": change_case.capital_word_frequency,
    "change_case:english_capital": change_case.english_capital,
    "change_case:english_lowercase": change_case.english_lowercase,
    "punctuation:no_comma": punctuation.no_comma,
}
ASKS_LANGUAGE = ("language:response_language", "change_case:english_capital", "change_case:english_lowercase")
# What langdetect knows; tests/verification/instructions compares it with the library.
LANGUAGES = (  # parted by spaces
    "af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne nl no pa pl pt ro "
    "ru sk sl so sq sv sw ta te th tl tr uk ur vi zh zh-cn zh-tw"
)


def start(prompt: dict, text: str) -> tuple[str | None, Decided | None, dict | None]:
    """(response, decision, job): at once where no language is asked for, or another instruction fails already."""
    ids, kwargs, strict = _asked(prompt)
    summary = text.rpartition("</think>")[2]
    if "<think>" in summary:
        return None, ("unparsable", "instructions/extraction", "the think block never closes"), None
    response = _unwrapped(summary)
    if not response.strip():
        return None, ("unparsable", "instructions/extraction", "the response is empty"), None
    job = {"text": response, "ids": ids, "kwargs": kwargs, "strict": strict}
    if set(ids).isdisjoint(ASKS_LANGUAGE):
        return response[:SHOWN], work(job), None
    cheap = [i for i, name in enumerate(ids) if name not in ASKS_LANGUAGE]
    others = job | {"ids": [ids[i] for i in cheap], "kwargs": [kwargs[i] for i in cheap]}
    if cheap and (decision := work(others))[0] == "wrong":
        return response[:SHOWN], (decision[0], decision[1], f"{decision[2]}; language not looked at"), None
    return response[:SHOWN], None, job


def work(job: dict) -> Decided:
    """Every instruction on one response."""
    reasons = follow(job["text"], job["ids"], job["kwargs"], job["strict"])
    failed = [f"{name}: {reason}" for name, reason in zip(job["ids"], reasons) if reason is not None]
    method = "instructions/" + ("strict" if job["strict"] else "loose")
    detail = f"{len(reasons) - len(failed)} of {len(reasons)} followed"
    return ("wrong" if failed else "ok"), method, "; ".join([detail, *failed])


def gold_problem(prompt: dict) -> tuple[str | None, dict | None]:
    """What is wrong with a row's instructions, or None."""
    try:
        _asked(prompt)
    except VerificationError as error:
        return str(error), None
    return None, None


def gold(prompt: dict) -> str | None:
    """What stands in for a gold in a verdict: the instruction ids, as JSON."""
    try:
        return json.dumps(_asked(prompt)[0])
    except VerificationError:
        return None


def follow(text: str, ids: list[str], kwargs: list[dict], strict: bool = True) -> list[str | None]:
    """For each instruction None where the response follows it, else why not."""
    tries = [text] if strict else list(variants(text))
    return [_first_that_follows(CHECKS[name], tries, options) for name, options in zip(ids, kwargs)]


def _first_that_follows(check: Callable[..., str | None], tries: list[str], options: dict) -> str | None:
    first = None
    for text in tries:
        if text.strip():
            if (reason := check(text, **options)) is None:
                return None
            first = first or reason
    return first or "the response is empty"


def variants(text: str) -> Iterator[str]:
    """The eight readings of the loose check, the response as it stands first."""
    lines = text.split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        whole = "\n".join(part).strip() if part is not lines else text
        yield whole
        yield whole.replace("*", "")


def _unwrapped(summary: str) -> str:
    inner = summary.strip()
    if inner.startswith("<answer>") and inner.endswith("</answer>") and inner.count("<answer>") == 1:
        return inner.removeprefix("<answer>").removesuffix("</answer>").strip()
    return summary.strip()


def _asked(prompt: dict) -> tuple[list[str], list[dict], bool]:
    """(ids, kwargs, strict) of a row, checked; raises VerificationError that names what is missing."""
    where = f"prompt {prompt.get('id')} of domain 'instructions'"
    try:
        meta = json.loads(prompt.get("meta") or "{}")
    except (ValueError, TypeError) as error:
        raise VerificationError(f"{where}: meta is no JSON: {error}") from error
    ids, kwargs = (meta.get("instruction_ids"), meta.get("kwargs")) if isinstance(meta, dict) else (None, None)
    if not (isinstance(ids, list) and ids and isinstance(kwargs, list) and len(ids) == len(kwargs)):
        raise VerificationError(
            f"{where}: meta needs instruction_ids and kwargs, two lists of the same length, not empty"
        )
    if not isinstance(strict := meta.get("strict", True), bool):
        raise VerificationError(f"{where}: meta.strict is {strict!r}, not true or false")
    try:
        return ids, [checked(name, options) for name, options in zip(ids, kwargs)], strict
    except ValueError as error:
        raise VerificationError(f"{where}: {error}") from error


def checked(name: str, options: dict | None) -> dict:
    """The kwargs of one instruction, nulls left out and whole floats made integers; raises ValueError."""
    if not isinstance(name, str) or name not in CHECKS:
        import difflib

        near = difflib.get_close_matches(str(name), CHECKS, 1)
        raise ValueError(f"unknown instruction {name!r}" + (f"; nearest: {near[0]}" if near else ""))
    if options is not None and not hasattr(options, "items"):
        raise ValueError(f"{name}: kwargs are {options!r}, not an object")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    wanted = {p.name: p.annotation for p in list(inspect.signature(CHECKS[name]).parameters.values())[1:]}
    if missing := [key for key in wanted if key not in given]:
        raise ValueError(f"{name}: kwargs lack {missing[0]!r}")
    if extra := [key for key in given if key not in wanted]:
        raise ValueError(
            f"{name}: kwargs hold {extra[0]!r}, which it does not know (only {', '.join(wanted) or 'none'})"
        )
    out = {key: _of_kind(name, key, given[key], kind) for key, kind in wanted.items()}
    if name == "language:response_language" and out["language"] not in LANGUAGES.split():
        raise ValueError(f"{name}: language {out['language']!r} is none that langdetect knows")
    if name == "keywords:letter_frequency" and len(out["letter"]) != 1:
        raise ValueError(f"{name}: letter is {out['letter']!r}, not one character")
    return out


def _of_kind(name: str, key: str, value: object, kind: object) -> object:
    if kind is int:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and float(value).is_integer():
            return int(value)
        raise ValueError(f"{name}: {key} is {value!r}, not a whole number")
    if kind == Relation:
        if value in get_args(Relation):
            return value
        raise ValueError(f"{name}: {key} is {value!r}, neither 'less than' nor 'at least'")
    texts = value if kind == list[str] and isinstance(value, list) else [value] if kind is str else []
    if texts and all(isinstance(text, str) and text.strip() for text in texts):
        return value
    raise ValueError(f"{name}: {key} is {value!r}, not {'a text' if kind is str else 'a list of texts'}")
