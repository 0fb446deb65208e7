"""vLLM in this process, for a GPU of one's own: prompts in as token ids, ids and log-probabilities out.

The extra `vllm` brings it (pip install 'r1flow[vllm]'). Where it stands in an environment of its own, as the build for
CPUs must, it is reached as a server instead: tasks/sampling/server_engine.py.
"""

import functools
import gc
import math
from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tasks.provenance.artifacts import weights_sha
from tasks.rows import derive_seed
from tasks.sampling.ledger import Ledger, digest
from tasks.sampling.policy import TokenizerOf
from tasks.sampling.sample import EngineError, Sample, checked
from tasks.sampling.settings import VLLMSettings

if TYPE_CHECKING:
    from tasks.progress import Progress


class VLLMEngine(TokenizerOf):
    """The checkpoint in vLLM, started when it is first asked; leaving the context frees the GPU."""

    name, continues = "vllm", True

    def __init__(self, settings: VLLMSettings, checkpoint: Path, ledger: Ledger | None = None):
        try:
            import vllm  # noqa: F401 - said now, not after minutes of work
        except ImportError as error:
            raise EngineError(
                f"engine vllm: vLLM cannot be imported here ({error}): install the extra, pip install 'r1flow[vllm]', on a "
                "machine with a GPU; or run `make vllm` and set engine: {name: server, start: true}; or engine: transformers"
            ) from None
        self.settings, self.checkpoint, self.ledger = settings, checkpoint, ledger
        self.sha = weights_sha(checkpoint)
        self.protocol = {"dtype": settings.dtype}

    @functools.cached_property
    def llm(self):
        import vllm

        s = self.settings
        return vllm.LLM(
            model=str(self.checkpoint), skip_tokenizer_init=True, dtype=s.dtype, max_model_len=s.max_model_len,
            gpu_memory_utilization=s.gpu_memory_utilization, tensor_parallel_size=s.tensor_parallel,
            enforce_eager=s.enforce_eager, seed=0, logprobs_mode="raw_logprobs", generation_config="vllm",
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        if self.ledger is not None:
            self.ledger.close()
        if "llm" not in self.__dict__:
            return
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        gc.collect()
        cleanup_dist_env_and_memory()

    def sample(
        self, prompts: list[str], k: int, temperature: float, top_p: float, max_tokens: int, seed: int,
        progress: "Progress | None" = None,
    ) -> list[list[Sample]]:  # fmt: skip
        """See Engine.sample; a call's worth of prompts that the ledger holds is read from it."""
        checked(prompts, k, temperature, top_p, max_tokens)
        seeds, seen = [], Counter()
        for prompt in prompts:
            seen[prompt] += 1
            seeds.append(derive_seed(seed, "request", prompt, seen[prompt]))
        ids = self.tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
        out: list[list[Sample]] = []
        generated = 0
        for start in range(0, len(prompts), self.settings.prompts_per_call):
            part = slice(start, start + self.settings.prompts_per_call)
            key = digest([self.sha, self.settings.dtype, ids[part], seeds[part], k, temperature, top_p, max_tokens])
            if self.ledger is not None and (kept := self.ledger.get(key)) is not None:
                groups = [[Sample(*s) for s in group] for group in kept]
            else:
                groups = self._generate(ids[part], seeds[part], k, temperature, top_p, max_tokens)
                generated += sum(len(s.ids) for group in groups for s in group)
                if self.ledger is not None:
                    self.ledger.add(key, [[astuple(s) for s in group] for group in groups])
            out += groups
            if progress:
                progress(len(out), len(prompts), "prompts", tokens=generated)
        return out

    def _generate(
        self, ids: list[list[int]], seeds: list[int], k: int, temperature, top_p, max_tokens
    ) -> list[list[Sample]]:
        """k samples of each prompt. The log-probabilities are of the raw logits: at temperature 1 and top-p 1."""
        from vllm import SamplingParams

        room = self.llm.llm_engine.model_config.max_model_len
        if (longest := max(map(len, ids)) + max_tokens) > room:
            raise EngineError(
                f"engine vllm: a prompt with {max_tokens} tokens to come needs a context of {longest}, and it has {room}: "
                "raise max_model_len, or lower max_tokens"
            )
        params = [
            SamplingParams(
                n=k, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, logprobs=0, detokenize=False,
                stop_token_ids=self.end,
            )
            for seed in seeds
        ]  # fmt: skip
        answers = self.llm.generate([{"prompt_token_ids": p} for p in ids], params, use_tqdm=False)
        return [[self._sample(o) for o in sorted(answer.outputs, key=lambda o: o.index)] for answer in answers]

    def _sample(self, output) -> Sample:
        ids = list(output.token_ids)
        if output.finish_reason not in ("stop", "length") or not ids:
            raise EngineError(f"engine vllm: a completion did not end (finish_reason {output.finish_reason!r})")
        logprobs = [float(step[token].logprob) for step, token in zip(output.logprobs, ids, strict=True)]
        if not all(map(math.isfinite, logprobs)):
            raise EngineError(f"engine vllm: {self.checkpoint} gives logits that are no numbers: set another dtype")
        text = self.tokenizer.decode(ids[:-1] if ids[-1] in self.end else ids)
        return Sample(text, ids, logprobs, output.finish_reason)


def open_here(settings: VLLMSettings, checkpoint: Path, work: Path | None, threads: int) -> VLLMEngine:
    """vLLM on `checkpoint`; `threads` are torch's and no setting of vLLM's."""
    return VLLMEngine(settings, checkpoint, Ledger(work / "samples-vllm.jsonl") if work else None)
