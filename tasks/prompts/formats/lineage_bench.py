"""lineage-bench results: per run a CSV file without header (size, relation, gold, prompt, model, …) and, in a folder of
the same name, every request and its response as OpenAI-style chat completions, reasoning included.

The prompt is a choice of five, numbered in its text. As an output the reasoning goes into think tags, and the tag
`<ANSWER>` that the prompt asks for is written in lower case, as ours.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.prompts.formats.found import BadRow, Found, Output
from tasks.prompts.readers import SourceError, read_bytes

DOMAIN = "choice"
PROCEDURAL = True
COLUMNS = ("prompt", "gold", "response")
HEADER = ("size", "relation", "gold", "prompt", "model")

_OPTION = re.compile(r"^(\d)\. (.+)$", re.MULTILINE)
_TAG = re.compile(r"<(/?)ANSWER>")


def records(files: list[tuple[Path, str]]) -> Iterator[tuple[str, dict]]:
    """(origin of the response, row) of every request; golds come from the CSV row with the same prompt."""
    golds = {}
    for path, name in files:
        if path.suffix == ".csv":
            for row in csv.reader(io.StringIO(read_bytes(path).decode(), newline="")):
                golds[row[3]] = row[2]
    named = {path: name for path, name in files}
    for path, name in files:
        if not path.name.endswith("_request.json"):
            continue
        answered = path.with_name(path.name.replace("_request", "_response"))
        if answered not in named:
            raise SourceError(f"{name}: there is no {answered.name} beside it; is the download complete?")
        request, response = (json.loads(read_bytes(p)) for p in (path, answered))
        prompt = request["messages"][-1]["content"]
        yield (
            f"{named[answered]}#1",
            {"prompt": prompt, "gold": golds.get(prompt), "request": request, "response": response},
        )


def convert(row: dict) -> Found:
    options = {label: text.strip() for label, text in _OPTION.findall(row["prompt"])}
    if row["gold"] is None:
        raise BadRow("no CSV file of results has this prompt, so its gold is not known")
    return Found(_TAG.sub(r"<answer>", row["prompt"]), row["gold"].strip(), None, {"options": options})


def outputs(row: dict) -> list[Output]:
    request, response = row["request"], row["response"]
    settings = {key: request[key] for key in ("temperature", "seed") if request.get(key) is not None}
    tokens = (response.get("usage") or {}).get("completion_tokens")
    out = []
    for choice in response["choices"]:
        message = choice["message"]
        reasoning, content = message.get("reasoning"), _TAG.sub(r"<\1answer>", message.get("content") or "")
        text = f"<think>\n{reasoning.strip()}\n</think>\n\n{content}" if reasoning else content
        out.append(Output(text, response.get("model"), choice.get("finish_reason"), tokens, settings))
    return out
