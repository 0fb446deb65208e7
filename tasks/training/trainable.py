"""A checkpoint made ready for training (attention, RoPE, adapters), and what was trained made a checkpoint again.

What is published is always a plain checkpoint: gathered from its shards, adapters merged, no pickle.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.provenance.artifacts import ArtifactError, check_files
from tasks.training.rope import extend
from tasks.training.settings import LoRA, OnDevice
from tasks.training.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAFE = {"use_safetensors": True, "trust_remote_code": False}  # weights that are no pickle, no code of the checkpoint's
PRECISE = "float32"  # of the weights that are trained; `bf16` is mixed precision over them


def options(start: Path, p: OnDevice, longest: int) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` that follow from the settings; {} where none does.

    longest: tokens that one sequence may have.
    Raises:
        ArtifactError: the model's positions are fewer than `longest`, or an extra package is missing.
    """
    from transformers import AutoConfig

    from tasks.training import checkpoints

    checkpoints.require(start)
    config = AutoConfig.from_pretrained(start, trust_remote_code=False)
    found: dict[str, Any] = {}
    if p.rope:
        extend(config, p.rope)
        found["config"] = config
    positions = getattr(config, "max_position_embeddings", None) or longest
    if longest > positions:
        raise ArtifactError(
            f"sequences of {longest} tokens are longer than the {positions} positions of {start}: lower max_length or "
            f"max_tokens, or extend the context, e.g. `rope: {{type: default, theta: 300000, positions: {longest}}}`"
        )
    if attention := _attention(p):
        found["attn_implementation"] = attention
    if p.lora and p.lora.bits:
        found["quantization_config"] = _four_bits()
    return found


def _attention(p: OnDevice) -> str | None:
    """Name for transformers; None: the library's choice, which is sdpa where the model has it.

    Raises:
        ArtifactError: flash attention is asked for where it cannot run; says what is missing.
    """
    if p.attention in ("eager", "sdpa"):
        return p.attention
    lacking = _lacks_flash(p)
    if p.attention == "auto":
        return None if lacking else "flash_attention_2"
    if lacking:
        raise ArtifactError(
            f"attention: flash_attention_2 cannot run: {lacking}; or say `attention: auto`, which takes sdpa without it"
        )
    return p.attention


def _lacks_flash(p: OnDevice) -> str | None:
    """What flash attention lacks here, with the remedy; None: nothing."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    if not p.bf16:
        return "it computes in 16 bits alone, set bf16: true"
    if not torch.cuda.is_available():
        return "there is no GPU here"
    if not is_flash_attn_2_available():
        return "the package is missing, pip install flash-attn --no-build-isolation"
    return None


def _four_bits():
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ArtifactError("lora.bits: 4 needs bitsandbytes: pip install 'r1flow[lora]', or leave `bits` out")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
    )


def adapt(model: "PreTrainedModel", p: OnDevice, seed: int, task: str = "CAUSAL_LM"):
    """The model with adapters where the settings ask for them, else itself. The adapters' start follows from `seed`."""
    if p.lora is None:
        return model
    try:
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    except ModuleNotFoundError:
        raise ArtifactError("lora needs peft: pip install 'r1flow[lora]', or leave `lora` out") from None
    import torch

    torch.manual_seed(seed)
    if p.lora.bits:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=p.gradient_checkpointing)
    return get_peft_model(model, _lora_config(LoraConfig, p.lora, task))


def _lora_config(kind, lora: LoRA, task: str):
    return kind(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets, task_type=task
    )


def load(start: Path, p: OnDevice, longest: int, seed: int):
    """(model, tokenizer) of the checkpoint `start`, ready to be trained as the settings say; tells how on the log."""
    from tasks.training import checkpoints

    model, tokenizer = checkpoints.load(start, **options(start, p, longest))
    model = adapt(model, p, seed)
    print(f"training from {start}: {describe(model, p)}", flush=True)
    return model, tokenizer


def describe(model, p: OnDevice) -> str:
    """One line for the log: what is trained, with which attention, in which precision."""
    trained = sum(w.numel() for w in model.parameters() if w.requires_grad)
    weights = sum(w.numel() for w in model.parameters())
    parts = [
        f"{trained:,} of {weights:,} weights",
        f"attention {model.config._attn_implementation}",
        "bf16" if p.bf16 else PRECISE,
        *(["gradient checkpointing"] if p.gradient_checkpointing else []),
        *([f"LoRA rank {p.lora.rank}{', NF4' if p.lora.bits else ''}"] if p.lora else []),
        *([f"RoPE {p.rope.type} to {p.rope.positions} positions"] if p.rope else []),
    ]
    return ", ".join(parts)


def publish(trainer, tokenizer, out: Path, scratch: Path) -> None:
    """Write what `trainer` trained under `out`; every rank calls it, rank 0 writes.

    Shards are gathered (FSDP, ZeRO-3), adapters are saved under `scratch` and merged into the checkpoint that they
    were trained on, in full precision. Where the training was bf16, so are the published weights.
    """
    import torch
    from accelerate.utils import is_peft_model

    model = trainer.accelerator.unwrap_model(trainer.model)
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        if is_peft_model(model):
            model.save_pretrained(scratch, **({"state_dict": state} if state else {}))
            model, state = _merged(model, scratch), None
        if trainer.args.bf16:
            model.to(torch.bfloat16)
            state = (
                {key: w.to(torch.bfloat16) if w.is_floating_point() else w for key, w in state.items()}
                if state
                else None
            )
        model.save_pretrained(out, **({"state_dict": state} if state else {}))
        save_tokenizer(tokenizer, out)
    trainer.accelerator.wait_for_everyone()


def _merged(model, adapter: Path):
    """The checkpoint that the adapters were trained on, read anew in full precision, with them merged into it."""
    import copy

    import torch
    from peft import PeftModel

    start = Path(model.peft_config["default"].base_model_name_or_path)
    check_files(start)
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    kind = type(model.get_base_model())
    base = kind.from_pretrained(start, config=config, dtype=torch.float32, **SAFE)
    return PeftModel.from_pretrained(base, adapter).merge_and_unload()
