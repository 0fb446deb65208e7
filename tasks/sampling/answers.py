"""What a server answered, as samples: every one whole, or an error that says what is missing and how to ask without it.

Nothing is made up: a missing text is not an empty one, and a completion without log-probabilities is refused unless the
recipe does without.
"""

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
    choices = sorted(choices, key=lambda c: c.get("index") or 0)
    usage = (answer.get("usage") or {}).get("completion_tokens") if n == 1 else None
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
        text, ids = _text(choice, api, usage), None
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
    return Sample(text, ids, probabilities, finish, counted)


def _ids(choice: dict) -> list[int]:
    ids = choice.get("token_ids")
    if not isinstance(ids, list):
        raise AnswerError("gives no token ids (`return_token_ids`, vLLM's): set dialect: openai to do without")
    if not ids:
        raise Passing("a completion without one token")
    return ids


def _logprobs(choice: dict, api: str) -> list[float]:
    """Of each generated token, nats."""
    given = choice.get("logprobs")
    if api == "chat":
        found = [t.get("logprob") for t in (given or {}).get("content") or []]
    else:
        found = (given or {}).get("token_logprobs") or []
    if not found or not all(isinstance(x, (int, float)) for x in found):
        raise AnswerError("gives no log-probabilities: set logprobs: false to do without")
    return [float(x) for x in found]


def _text(choice: dict, api: str, usage: int | None) -> str:
    """The text; a chain of thought that the server has parted from it goes back between its tags."""
    if api == "chat":
        message = choice.get("message") or {}
        text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        if isinstance(thought, str) and thought.strip():
            text = f"<think>\n{thought.strip()}\n</think>\n\n{text or ''}"
    else:
        text = choice.get("text")
    if not isinstance(text, str) or (not text and not usage):  # an empty text is a sample only where a token was made
        raise Passing("a completion without text")
    return text
