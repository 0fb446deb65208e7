"""What a server answered, as samples: every one whole, or an error that says what is missing and how to ask without it.

Nothing is made up: a missing text is not an empty one, and a completion without log-probabilities is refused unless the
recipe does without.
"""

import math

from tasks.sampling.http import Passing
from tasks.sampling.sample import Sample


class AnswerError(Exception):
    """The server answers, but not what was asked, and would again; the message says which setting helps."""


def samples_of(
    answer: dict, n: int, api: str, tokenizer, end: list[int], logprobs: bool, max_tokens: int
) -> list[Sample]:
    """The n samples of an answer of /completions or /chat/completions (`api`).

    With `tokenizer` the text is decoded from the ids that came, without those of `end`, as every engine does it.
    Raises Passing where another try may bring it, else AnswerError.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
        raise Passing(f"the reply is no completion: {str(answer)[:300]}")
    if len(choices) != n:
        raise AnswerError(f"gave {len(choices)} of {n} samples: set samples_per_request: 1")
    places = [c.get("index") for c in choices]
    if places != [None] * n and sorted(places, key=str) != sorted(range(n), key=str):
        raise Passing(f"its {n} samples are numbered {places}")
    choices = sorted(choices, key=lambda c: c.get("index") or 0)
    usage = _block(answer, "usage").get("completion_tokens") if n == 1 else None
    usage = usage if type(usage) is int and usage >= 0 else None
    return [_sample(c, api, tokenizer, end, logprobs, max_tokens, usage) for c in choices]


def _sample(
    choice: dict, api: str, tokenizer, end: list[int], logprobs: bool, max_tokens: int, usage: int | None
) -> Sample:
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        raise AnswerError("a completion was withheld (finish_reason content_filter)")
    if finish not in ("stop", "length"):
        raise Passing(f"a completion did not end (finish_reason {finish!r})")
    probabilities = _logprobs(choice, api) if logprobs else None
    if tokenizer is None:
        made = usage if usage is not None else len(probabilities or ())
        text, ids = _text(choice, api, made), None
        counted = usage if usage is not None else len(probabilities) if probabilities else None
    else:
        ids, counted = _ids(choice), None
        text = tokenizer.decode(ids[:-1] if finish == "stop" and ids[-1] in end else ids)
    number = counted if ids is None else len(ids)
    if ids is not None and probabilities is not None and len(probabilities) != len(ids):
        raise Passing(f"{len(probabilities)} log-probabilities for {len(ids)} tokens")
    if finish == "length" and number is not None and number < max_tokens:
        raise AnswerError(
            f"cut a completion off after {number} of {max_tokens} tokens: the server's context is too short; "
            "start it with a larger max_model_len, or lower max_tokens"
        )
    if ids is not None and len(ids) > max_tokens:
        raise AnswerError(f"gave {len(ids)} tokens where {max_tokens} were asked for: it does not heed max_tokens")
    return Sample(text, ids, probabilities, finish, counted)


def _ids(choice: dict) -> list[int]:
    ids = choice.get("token_ids")
    if not isinstance(ids, list):
        raise AnswerError("gives no token ids (`return_token_ids`, vLLM's): set dialect: openai to do without")
    if not ids:
        raise Passing("a completion without one token")
    if not all(type(i) is int and i >= 0 for i in ids):
        raise Passing(f"token ids that are none: {ids[:5]}")
    return ids


def _logprobs(choice: dict, api: str) -> list[float]:
    """Of each generated token, nats."""
    found = _block(choice, "logprobs").get("content" if api == "chat" else "token_logprobs")
    found = found if isinstance(found, list) else []
    if api == "chat":
        found = [t.get("logprob") if isinstance(t, dict) else None for t in found]
    if not found or not all(type(x) in (int, float) for x in found):
        raise AnswerError("gives no log-probabilities: set logprobs: false to do without")
    if not all(math.isfinite(x) and x < 1e-3 for x in found):  # JSON as Python reads it knows NaN; rounding passes 0
        raise Passing("log-probabilities that are none (NaN, infinite or above 0)")
    return [float(x) for x in found]


def _block(whole: dict, name: str) -> dict:
    """The object `name` of an answer; {} where there is none."""
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _text(choice: dict, api: str, made: int) -> str:
    """The text; a chain of thought that the server has parted from it goes back between its tags.

    `made`: tokens that the server says it generated, 0 where it says nothing.
    """
    if api == "chat":
        message = _block(choice, "message")
        text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thought, str) and thought.strip():
            text = f"<think>\n{thought.strip()}\n</think>\n\n{text or ''}"
    else:
        text = choice.get("text")
    if not isinstance(text, str):
        raise Passing("a completion without text")
    if not text and not made:  # an empty text is a sample only where a token was made
        raise Passing(
            "a completion without text, of no token as far as is said (samples_per_request: 1 lets usage say it)"
        )
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character, cut between tokens
