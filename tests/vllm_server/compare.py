"""vLLM beside the transformers engine at the size of the recipe: docs/logs/vllm.txt is what this prints.

    python -m tests.vllm_server.compare FOLDER     # needs a built checkout, and vLLM (`make vllm`)

FOLDER gets a copy of the artifacts that are read. `evaluate@r1` and `candidates` run there as DVC runs them, against
`r1 serve`; what is printed beside them is what the transformers engine gave when this checkout was built.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tasks.evaluation.metrics import judged, summary
from tasks.prompts.templates import render
from tasks.provenance.artifacts import read_rows
from tasks.rows import COMPLETION, PROMPT
from tasks.sampling.engine import engine_settings, open_engine
from tests.vllm_server.conftest import ROOT, Checkout

READ = ("data/01_prompts", "data/01_final", "data/08_dev2", "data/17_r1", "data/revoked")
PRINTED = (
    "pass_at_1",
    "pass_at_k",
    "cons_at_k",
    "format_rate",
    "language_consistency",
    "mean_length",
    "truncation_rate",
)


class Serve:
    """`r1 serve` on a checkpoint, as a context manager; the facts it printed."""

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint
        asked = ["serve", checkpoint, "--engine", "vllm", "--threads", "1", "--json"]
        command = [sys.executable, "-m", "flows.cli.main", *asked]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.facts = json.loads(self.process.stdout.readline())

    def __enter__(self) -> dict:
        said = {k: self.facts[k] for k in ("engine", "model", "seconds")}
        print(f"\n$ r1 serve {self.checkpoint} --engine vllm --threads 1 --json\n{json.dumps(said)}")
        return self.facts

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(60)


def copy(folder: Path) -> Checkout:
    for name in ("flows", "tasks", *READ):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    return Checkout(folder)


def use(checkout: Checkout, section: str, url: str) -> None:
    params = yaml.safe_load((ROOT / "recipes/cpu.yaml").read_text())
    params[section]["engine"] = {"name": "server", "url": url}
    (checkout.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def timed(checkout: Checkout, stage: str, *item: str) -> tuple[dict, float]:
    begun = time.monotonic()
    metrics = checkout.run(stage, *item)
    return metrics, time.monotonic() - begun


def log_probabilities(checkout: Checkout, url: str) -> str:
    """How far vLLM's log-probabilities of its own tokens are from a full forward pass of transformers, both float32."""
    import torch

    from tasks.training.checkpoints import load

    rows = sorted(read_rows(checkout.root / "data/01_final", "final", PROMPT), key=lambda r: r["id"])[:64]
    prompts = [render("bare", r["text"]) for r in rows]
    with open_engine(engine_settings({"name": "server", "url": url}), checkout.root / "data/17_r1") as engine:
        groups = engine.sample(prompts, 8, 1.0, 1.0, 128, 0)
    model, tokenizer = load(checkout.root / "data/17_r1")
    far = []
    for prompt, group in zip(prompts, groups, strict=True):
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        for s in group:
            with torch.no_grad():
                logits = model(torch.tensor([start + s.ids])).logits[0, len(start) - 1 : -1]
            expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(s.ids)[:, None])[:, 0]
            far.append((expected - torch.tensor(s.logprobs)).abs())
    far = torch.cat(far)
    return f"{len(far):,} tokens: largest difference {far.max():.1e}, mean {far.mean():.1e} nats"


def evaluated(checkout: Checkout, url: str) -> None:
    use(checkout, "evaluate", url)
    theirs, seconds = timed(checkout, "evaluate", "r1")
    ours = json.loads((ROOT / "metrics/evaluate/r1.json").read_text())
    same = theirs["protocol"] == ours["protocol"]
    print(f"\nevaluate@r1 in {seconds:.0f} s; protocol {'the same' if same else 'DIFFERS'}: {theirs['protocol']}")
    low, high = (ours["pass_at_1_ci95"][k] for k in ("low", "high"))
    inside = "inside" if low <= theirs["pass_at_1"] <= high else "OUTSIDE"
    print(
        f"pass@1 {theirs['pass_at_1']:.4f} is {inside} the 95 % interval of the transformers engine [{low:.4f}, {high:.4f}]"
    )
    print(f"{'':<22}{'vLLM':>10}{'transformers':>14}")
    for name in PRINTED:
        print(f"{name:<22}{theirs[name]:>10.4f}{ours[name]:>14.4f}")


def accuracy(root: Path, rows: list[dict]) -> dict:
    """pass@1 and the like of candidates, by the rules alone."""
    from tasks.verification.verify import verify_all

    asked = {p["id"]: p for p in read_rows(root / "data/01_prompts", "train", PROMPT)}
    verdicts = verify_all([asked[r["prompt_id"]] for r in rows], [r["text"] for r in rows])
    told = [v.row(r["id"], r["prompt_id"]) for v, r in zip(verdicts, rows, strict=True)]
    return summary(judged(rows, told), {p: asked[p]["language"] for p in {r["prompt_id"] for r in rows}}, 4, 0)


def sampled(checkout: Checkout, url: str) -> None:
    use(checkout, "candidates", url)
    metrics, seconds = timed(checkout, "candidates")
    rate = metrics["tokens"] / seconds
    print(f"\ncandidates in {seconds:.0f} s, start of the stage included: {metrics} ({rate:,.0f} tokens/s)")
    theirs, ours = (
        accuracy(root, read_rows(root / "data/09_candidates", "candidates", COMPLETION))
        for root in (checkout.root, ROOT)
    )
    low, high = ours["pass_at_1_ci95"]
    print(
        f"right by the rules: {theirs['pass_at_1']:.4f}; transformers engine {ours['pass_at_1']:.4f} [{low:.4f}, {high:.4f}]"
    )


def main(folder: Path) -> None:
    checkout = copy(folder)
    with Serve("data/17_r1") as facts:
        print("log-probabilities, token by token:", log_probabilities(checkout, facts["url"]))
        evaluated(checkout, facts["url"])
    with Serve("data/08_dev2") as facts:
        sampled(checkout, facts["url"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
