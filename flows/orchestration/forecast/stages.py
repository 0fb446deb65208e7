"""What each stage of dvc.yaml would do at a recipe's size; its name in STAGES is its name there."""

from collections.abc import Callable, Iterator
from math import ceil

from flows.orchestration.forecast.recipe import Recipe
from flows.orchestration.forecast.work import Curate, Sample, Score, Step, Train, Verify, Work
from tasks.reporting.forecast.memory import Training
from tasks.reporting.forecast.roofline import Generation, attended_length
from tasks.reporting.forecast.shapes import Shape
from tasks.training.settings import Pretrain

BYTES_PER_TOKEN = 4.0  # of text; zstd takes about two thirds of it away
COMPRESSION = 3.0
ROW_OVERHEAD = 40  # bytes of ids and columns of one row, compressed
STATE_BYTES = 24.0  # a parameter: float32 weights and Adam's two moments, twice while a new checkpoint replaces the old
FORCED = 4  # samples a problem that are made to guess or made to reason: two of each (flows/evaluate.py)
JUDGED = 8  # tokens of a judge's reply
SEQUENCE = 8192  # tokens of a long row that one GPU of a sharded training takes


def table(rows: float, tokens: float) -> float:
    """Bytes of a Parquet table with that many rows and tokens of text."""
    return rows * ROW_OVERHEAD + tokens * BYTES_PER_TOKEN / COMPRESSION


def prompts(r: Recipe) -> Iterator[Step]:
    rows = r.rows_of("prompts.sources")
    known = rows or 0.0
    yield Step(
        "prompts", "read, deduplicate, split", (Curate(known),), rows=rows, artifact=table(known, known * r.prompt)
    )


def origin(r: Recipe, stage: str, key: str) -> Step:
    name, shape = r.model(key)
    if not (pretrain := r.get(key).get("pretrain")):
        size = shape.total * shape.stored
        return Step(
            stage,
            "take a published model",
            (),
            name,
            shape,
            artifact=size,
            download=size if r.get(key).get("hub") else 0.0,
        )
    p = Pretrain.model_validate(pretrain)
    ends = [share for share, _ in p.batch_tokens[1:]] + [1.0]
    steps = sum((end - share) * p.tokens / size for (share, size), end in zip(p.batch_tokens, ends, strict=True))
    work = Train(shape, p.tokens, r.example, steps)
    memory = Training(
        shape, 1, max(size for _, size in p.batch_tokens), max(size for _, size in p.batch_tokens), False, False
    )
    return Step(
        stage,
        "pretrain from scratch",
        (work,),
        name,
        shape,
        trained=p.tokens,
        artifact=_saved(r, shape),
        state=_state(shape),
        memory=memory,
    )


def student_bases(r: Recipe) -> Iterator[Step]:
    for name in r.get("student_base.students"):
        yield origin(r, f"student_base@{name}", f"student_base.students.{name}")


def judge(r: Recipe) -> Iterator[Step]:
    pairs, name, shape = r.get("judge.pairs"), *r.base
    held_out = r.get("judge.held_out")
    exam = Sample(shape, Generation(held_out, held_out, r.prompt, JUDGED / 2, JUDGED, "transformers"))
    step = sft(r, "judge", "judge.sft", (name, shape), pairs, r.prompt + JUDGED, "question, gold, answer")
    yield (
        _with(step, works=(*step.works, exam))
        if pairs and held_out
        else step
        if pairs
        else _with(step, works=(), memory=None)
    )


def sft(r: Recipe, stage: str, key: str, model: tuple[str, Shape], rows: float, length: float, of_what: str) -> Step:
    """SFT of `rows` examples of `length` tokens."""
    name, shape = model
    p = r.get(key)
    epochs, batch = r.get(f"{key}.epochs"), r.get(f"{key}.batch_size")
    longest = float(r.get(f"{key}.max_length"))
    length = min(length, longest)
    tokens = rows * length * epochs
    padding = r.a.padding if p["packing"] == "none" else 1.0
    steps = ceil(rows / batch) * epochs * (length / longest if p["packing"] == "bfd" else 1.0)
    attended = attended_length(r.prompt, length - r.prompt, (length - r.prompt) / r.a.response_share)
    work = Train(shape, tokens, attended, steps, p["gradient_checkpointing"], padding)
    at_once = min(longest, r.prompt_limit + r.get("candidates.max_tokens"))
    memory = Training(
        shape,
        p["micro_batch"] or batch,
        at_once,
        at_once,
        p["gradient_checkpointing"],
        r.sharded,
        **_lora(p),
        batch=batch,
        tiled=True,
    )
    return Step(
        stage, f"SFT, {of_what}, {epochs} epochs", (work,), name, shape, rows, trained=tokens, artifact=_saved(r, shape, p),
        state=_state(shape), memory=memory, most=batch * max(1, ceil(longest / SEQUENCE)) if r.sharded else 1,
    )  # fmt: skip


def _lora(p: dict) -> dict:
    lora = p.get("lora") or {}
    return {"lora_rank": lora.get("rank"), "lora_bits": lora.get("bits")}


def _saved(r: Recipe, shape: Shape, p: dict | None = None) -> float:
    """Bytes of the published checkpoint: what was trained in bf16 is saved so."""
    return shape.total * (2.0 if p and p["bf16"] else r.a.checkpoint_bytes)


def _state(shape: Shape) -> float:
    return shape.total * STATE_BYTES


def _with(step: Step, **changes) -> Step:
    return Step(**{**step.__dict__, **changes})


def grpo(r: Recipe, stage: str, model: tuple[str, Shape]) -> Step:
    """GRPO: rollouts, verdicts, scoring passes and training, for each stretch of steps with one token limit."""
    name, shape = model
    p = r.get(f"{stage}.grpo")
    steps, batch = r.get(f"{stage}.grpo.steps"), p["prompts_per_step"] * p["group_size"]
    cycle, epochs = r.get(f"{stage}.grpo.rollout_batches") or 1, p["inner_epochs"] or 1
    engine = r.engine(f"{stage}.grpo.engine")
    passes = (1 if p["kl_beta"] else 0) + (1 if cycle * epochs > 1 else 0)
    r.note(
        "GRPO: one scoring pass for the reference where kl_beta > 0, one for the old policy where a rollout is used more than once"
    )
    ends = [start for start, _ in p["max_tokens"][1:]] + [steps]
    works: list[Work] = list(_gate(r, stage, shape, p["max_tokens"][0][1]))
    trained = completions = 0.0
    for (start, limit), end in zip(p["max_tokens"], ends, strict=True):
        part = max(0, min(end, steps) - start)
        rollouts, mean = part / cycle / epochs, r.response(limit)
        call = _call(r, batch * cycle, p["prompts_per_step"] * cycle, r.prompt, mean, limit, engine)
        rows, length = rollouts * call.sequences, attended_length(r.prompt, mean, limit)
        tokens = rows * (r.prompt + mean)
        works += [Sample(shape, call, rollouts, sync=True), Verify(rows)]
        works += [Score(shape, tokens, length)] * passes
        works.append(Train(shape, tokens * epochs, length, part, p["gradient_checkpointing"]))
        trained, completions = trained + tokens * epochs, completions + rows
    limit = max(cap for _, cap in p["max_tokens"])
    step = Step(
        stage, f"GRPO, {steps:,} steps x {batch}", tuple(works), name, shape, completions, trained=trained,
        artifact=_saved(r, shape, p), state=_state(shape), most=batch * max(1, ceil(limit / SEQUENCE)) if r.sharded else 1,
        memory=_grpo_memory(r, shape, p, batch, limit, engine),
    )  # fmt: skip
    if p["general_last_steps"] and r.get(f"{stage}.grpo.general_share"):
        general = p["general_last_steps"] * batch * r.get(f"{stage}.grpo.general_share")
        length = r.prompt + r.response(limit)
        step = _with(step, works=(*step.works, Score(shape, general * length, length)))
    return step


def _gate(r: Recipe, stage: str, shape: Shape, limit: float) -> Iterator[Work]:
    """The check before RL: the same prompts sampled freely and made to guess (tasks/rewards/gate.py)."""
    if gate := r.get(f"{stage}.gate"):
        count, engine = gate["prompts"], r.engine(f"{stage}.gate.engine")
        yield Sample(shape, _call(r, count * gate["samples"], count, r.prompt, r.response(limit), limit, engine), 2)


def _grpo_memory(r: Recipe, shape: Shape, p: dict, batch: int, limit: int, engine: dict) -> Training:
    """Without `accumulate` the activations of a whole step are held, which are as long as its mean response."""
    longest = limit if p["accumulate"] else r.response(limit)
    beside = engine.get("mode", "colocate") == "colocate" and engine["name"] == "vllm"
    return Training(
        shape, p["micro_batch"] if p["accumulate"] else batch, (r.prompt_limit if p["accumulate"] else r.prompt) + longest, longest,
        p["gradient_checkpointing"], r.sharded, reference=bool(p["kl_beta"]), **_lora(p), batch=batch,
        longest=r.prompt_limit + limit, rollout_share=engine.get("gpu_memory_utilization", 0.3) if beside else 0.0,
        asleep=bool(engine.get("sleep")), tiled=True,
    )  # fmt: skip


def _call(
    r: Recipe, sequences: float, asked: float, prompt: float, mean: float, limit: float, engine: dict
) -> Generation:
    """A call of the engine that a recipe names; where it says no share of the memory, `assume.kv_share`."""
    stands = engine.get("serving") or engine  # of a server: how it is started
    share = stands.get("gpu_memory_utilization") or r.a.kv_share
    return Generation(
        sequences, asked, prompt, mean, limit, "transformers" if engine["name"] == "transformers" else "vllm",
        stands.get("tensor_parallel") or 1, share,
    )  # fmt: skip


def sampling(
    r: Recipe, stage: str, does: str, model: tuple[str, Shape], rows: float, asked: float, limit: float, verify: bool,
    calls: int = 1,
) -> Step:  # fmt: skip
    """k samples of each prompt, verified where the stage does so itself."""
    name, shape = model
    engine, mean = r.engine(f"{stage.split('@')[0]}.engine"), r.response(limit)
    call = _call(r, rows / calls, asked / calls, r.prompt, mean, limit, engine)
    # Ray spreads batches of the transformers engine alone; a server's GPUs are its own, one of ours stands for them
    spread = r.get("execution") == "ray" and engine["name"] == "transformers"
    if engine["name"] == "server":
        r.note(
            f"{stage.split('@')[0]}: a server is reckoned like vLLM on as many GPUs as `serving.tensor_parallel` says"
        )
    sample = Sample(shape, call, calls)
    return Step(
        stage, does, (sample, Verify(rows)) if verify else (sample,), name, shape, rows,
        artifact=table(rows, rows * mean), most=int(rows) if spread else max(1, call.tensor_parallel),
    )  # fmt: skip


def cold_start(r: Recipe) -> Iterator[Step]:
    routes = {name: share for name, share in (r.get("cold_start.sources") or {}).items() if name != "human"}
    share = sum(routes.values()) if routes and None not in routes.values() else 1.0
    asked = r.get("cold_start.rows") * r.get("cold_start.asked_per_row") * share
    rows = asked * r.get("cold_start.samples")
    limit = r.get("cold_start.max_tokens")
    yield sampling(r, "cold_start", "sample and filter, four routes", r.base, rows, asked, limit, True, 3)


def candidates(r: Recipe) -> Iterator[Step]:
    asked, k = r.get("candidates.prompts"), r.get("candidates.samples")
    yield sampling(
        r, "candidates", f"{k} samples a prompt", r.base, asked * k, asked, r.get("candidates.max_tokens"), False
    )


def verdicts(r: Recipe) -> Iterator[Step]:
    rows, name, shape = r.get("candidates.prompts") * r.get("candidates.samples"), *r.base
    judged = rows * r.get("verdicts.judge_share")
    ask = Sample(shape, _call(r, judged, judged, r.prompt + JUDGED, JUDGED / 2, JUDGED, {"name": "transformers"}))
    works = (Verify(rows), ask) if judged else (Verify(rows),)
    yield Step("verdicts", "rules, and the judge for a share", works, name, shape, rows, artifact=rows * ROW_OVERHEAD)


def tables(r: Recipe) -> Iterator[Step]:
    rows = r.get("candidates.prompts") * r.get("candidates.samples")
    work = Curate(rows, r.a.compile_start)
    yield Step(
        "reasoning",
        "keep correct and readable ones",
        (work,),
        rows=r.kept,
        artifact=table(2 * r.kept + rows, r.kept * r.example),
    )


def rows_only(stage: str, does: str, rows: float, tokens: float) -> Step:
    return Step(stage, does, (Curate(rows),), rows=rows, artifact=table(rows, tokens))


def reward_models(r: Recipe) -> Iterator[Step]:
    (pairs, labels), (name, shape) = r.preferences, r.base
    p = r.get("reward_models")
    batch, epochs = r.get("reward_models.batch_size"), r.get("reward_models.epochs")
    longest = float(r.get("reward_models.max_length") or 512)
    length = min(r.example, longest)
    tokens = (2 * pairs + labels) * length * epochs
    steps = (ceil(pairs / batch) + ceil(labels / batch)) * epochs
    rows = 2 * (p["micro_batch"] or batch)  # of a pair, both
    at_once = min(longest, r.prompt_limit + r.get("candidates.max_tokens"))
    memory = Training(shape, rows, at_once, 0.0, p["gradient_checkpointing"], r.sharded, **_lora(p), batch=2 * batch)
    yield Step(
        "reward_models", "a pairwise and a pointwise model", (Train(shape, tokens, length, steps, p["gradient_checkpointing"]),), name, shape,
        pairs + labels, trained=tokens, artifact=2 * _saved(r, shape, p), state=_state(shape), memory=memory, most=batch if r.sharded else 1,
    )  # fmt: skip


def preferences(r: Recipe) -> Step:
    rows = sum(r.preferences)
    return rows_only("preferences", "pairs and labels", rows, 2 * rows * r.example)


def distill(r: Recipe) -> Iterator[Step]:
    for name, student in r.get("distill.students").items():
        model = r.model(f"student_base.students.{student['base']}")
        yield sft(
            r, f"distill@{name}", f"distill.students.{name}.sft", model, r.total_rows, r.example, "the teacher's set"
        )


def evaluate(r: Recipe) -> Iterator[Step]:
    problems, k, limit = r.get("evaluate.problems"), r.get("evaluate.k"), r.get("evaluate.max_tokens")
    for name, folder in r.get("evaluate.models").items():
        model, rows = r.owner(folder), problems * (k + FORCED)
        yield sampling(r, f"evaluate@{name}", f"{k} samples a problem", model, rows, problems, limit, True)


def _one(estimate: Callable[[Recipe], Step]) -> Callable[[Recipe], Iterator[Step]]:
    return lambda r: iter([estimate(r)])


def _dev1(r: Recipe) -> Step:
    length = r.prompt + r.response(r.get("cold_start.max_tokens"))
    return sft(r, "dev1", "dev1.sft", r.base, r.get("cold_start.rows"), length, "the cold-start set")


STAGES: dict[str, Callable[[Recipe], Iterator[Step]]] = {
    "prompts": prompts,
    "base": _one(lambda r: origin(r, "base", "base.model")),
    "student_base": student_bases,
    "judge": judge,
    "r1_zero": _one(lambda r: grpo(r, "r1_zero", r.base)),
    "cold_start": cold_start,
    "dev1": _one(_dev1),
    "dev2": _one(lambda r: grpo(r, "dev2", r.base)),
    "candidates": candidates,
    "verdicts": verdicts,
    "reasoning": tables,
    "non_reasoning": _one(lambda r: rows_only("non_reasoning", "select and render", r.get("non_reasoning.rows"), r.get("non_reasoning.rows") * r.example)),
    "sft_data": _one(lambda r: rows_only("sft_data", "union of both", r.total_rows, r.total_rows * r.example)),
    "dev3": _one(lambda r: sft(r, "dev3", "dev3.sft", r.base, r.total_rows, r.example, "the union")),
    "preferences": _one(preferences),
    "reward_models": reward_models,
    "r1": _one(lambda r: grpo(r, "r1", r.base)),
    "distill": distill,
    "student_rl": _one(lambda r: grpo(r, "student_rl", r.model(f"student_base.students.{r.get('student_rl.student')}"))),
    "evaluate": evaluate,
    "report": _one(lambda r: Step("report", "tables and pictures", (Curate(0, 6.0),))),
}  # fmt: skip
