"""The row types that travel between stages: Parquet schemas, written once.

Row ids are content-addressed (DESIGN rule 6): blake2b over what determined the row, so a completion
knows its prompt, its checkpoint and its sampling settings, and a training example its completion.
"""

import hashlib
import json

import pyarrow as pa

STATUSES = ("ok", "wrong", "unparsable", "timeout", "infra")

PROMPT = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),  # name of the source in params.yaml
        ("domain", pa.string()),  # maths, logic, writing, qa, self, translation, greeting, safety, ...
        ("split", pa.string()),  # train, validation, final
        ("text", pa.string()),
        ("gold", pa.string()),  # null where nothing can be verified
        ("solution", pa.string()),  # reference response, null where the source has none
        ("language", pa.string()),  # target language of the response, "en" or "zh"
        ("licence", pa.string()),
        ("origin", pa.string()),  # file:line, hub:repo@revision#row, or family#index
        ("meta", pa.string()),  # JSON: whatever the source's own verifier needs
    ]
)

COMPLETION = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("model", pa.string()),  # sha256 of the checkpoint's weights
        ("engine", pa.string()),
        ("settings", pa.string()),  # JSON: temperature, top_p, max_tokens, seed, template hash
        ("index", pa.int32()),  # 0..k-1 among the samples of this prompt
        ("text", pa.string()),
        ("tokens", pa.int32()),  # generated tokens, end-of-sequence included
        ("finish", pa.string()),  # "stop" or "length"
        ("logprob", pa.float64()),  # sum of the log-probabilities of the generated tokens, nats
    ]
)

VERDICT = pa.schema(
    [
        ("completion_id", pa.string()),
        ("prompt_id", pa.string()),
        ("status", pa.string()),  # one of STATUSES
        ("extracted", pa.string()),
        ("gold", pa.string()),
        ("method", pa.string()),  # e.g. "maths/fast", "maths/math-verify", "judge"
        ("detail", pa.string()),
        ("verifier", pa.string()),  # version hash: code + library versions
    ]
)

DECISION = pa.schema(
    [
        ("row_id", pa.string()),
        ("stage", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("keep", pa.bool_()),
        ("evidence", pa.string()),
    ]
)

SFT_EXAMPLE = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("completion_id", pa.string()),  # null where the response is no sampled completion
        ("source", pa.string()),
        ("domain", pa.string()),
        ("prompt", pa.string()),  # the bare question; the chat template is applied in training
        ("response", pa.string()),
        ("origin", pa.string()),
    ]
)

PREFERENCE_PAIR = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("split", pa.string()),  # train or held_out
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("fault", pa.string()),  # what is wrong with the rejected one: wrong, cut_off, rude, unsafe, or "judged"
        ("gap", pa.float64()),  # score gap between chosen and rejected
        ("labelled_by", pa.string()),  # "procedural-oracle", "judge:<model>", "dataset:<name>"
    ]
)

SAFETY_LABEL = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("split", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("safe", pa.bool_()),
        ("labelled_by", pa.string()),
    ]
)


def row_id(kind: str, **content) -> str:
    """128-bit id of a row: `kind_` + blake2b of the canonical JSON of everything that determined it."""
    blob = json.dumps([kind, content], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return f"{kind}_{hashlib.blake2b(blob.encode(), digest_size=16).hexdigest()}"


def derive_seed(seed: int, *names: object) -> int:
    """31-bit seed of one use of randomness, from the run's seed and what it is used for (stage, row, step)."""
    blob = json.dumps([seed, *map(str, names)]).encode()
    return int.from_bytes(hashlib.blake2b(blob, digest_size=4).digest(), "big") >> 1
