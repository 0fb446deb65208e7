"""The tokenizer of models trained here: byte-level BPE in which numbers and labelled operations are whole tokens."""

from collections.abc import Iterable
from pathlib import Path

END, PAD = "<|endoftext|>", "<|pad|>"
MODULE = "tokenization_r1flow"  # see save_tokenizer; tasks/publishing/loading.py writes it into what is exported
CLASS_OF_ITS_OWN = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "auto_map": {"AutoTokenizer": [f"{MODULE}.R1Tokenizer"] * 2},
}
# An operator glued to its digit, a whole number, punctuation, a word with its space, white space: nothing else
# joins a number, so `=53` and ` 53` end in the same token and copying it is a lookup.
PIECES = r"[+-]\d|\d+|[=.]| ?[^\s\d+=.<>-]+|\s+|[<>-]"


def train_tokenizer(texts: Iterable[str], tags: Iterable[str], vocabulary: int = 560, max_length: int = 512):
    """A PreTrainedTokenizerFast trained on `texts`; any UTF-8 text can be encoded (byte fallback).

    `tags` become tokens of their own that are not special: TRL decodes completions without special tokens, and
    the reward would never see them.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False, special_tokens=[END, PAD]
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer, folder: Path) -> None:
    """Write a tokenizer so that `AutoTokenizer`, and so vLLM and TRL, read its tokenizer.json as it stands.

    Beside a config of some architectures (qwen2 is one) transformers 5 rebuilds the tokenizer from its vocabulary alone
    (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS in tokenization_auto.py), except where the folder names a class of its own.
    """
    import json

    from transformers import PreTrainedTokenizerFast

    tokenizer.save_pretrained(folder)
    if type(tokenizer) is PreTrainedTokenizerFast:
        path = Path(folder) / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8")) | CLASS_OF_ITS_OWN
        path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def load_tokenizer(folder: Path):
    """The tokenizer of a checkpoint.

    Not AutoTokenizer for our own: beside a qwen2 config it silently rebuilds Qwen2's pre-tokenizer over ours.
    """
    import json

    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from tasks.provenance.artifacts import checked

    folder = Path(folder)
    if (folder / "manifest.json").is_file():
        for name in ("tokenizer_config.json", "tokenizer.json"):
            checked(folder, name)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    own = settings.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return (PreTrainedTokenizerFast if own else AutoTokenizer).from_pretrained(folder, trust_remote_code=False)
