"""What others load is what was trained: a checkpoint folder whose `AutoTokenizer` gives the tokens of its tokenizer.json.

transformers 5 rebuilds the tokenizer of some architectures from vocabulary and merges alone, whatever class the folder
names (MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS in transformers/models/auto/tokenization_auto.py; qwen2 is one), and vLLM
loads it so. A tokenizer with a pre-tokenizer of its own, such as ours, then cuts text otherwise than in training, and
nothing says so. A folder that names a class of its own is spared: without trust_remote_code its tokenizer.json is read
as it is, and with it the class below does the same.
"""

import json
from pathlib import Path

from tasks.provenance.artifacts import ArtifactError
from tasks.training.tokenizer import CLASS_OF_ITS_OWN, MODULE

PROBES = (  # where pre-tokenizers and normalizers differ: digits, operators, tags, white space, scripts, accents
    "User: Compute 54 A-1 B+3 C-9.\nAssistant: <think> First A-1=53. Then B+3=56.</think> <answer>53</answer>",
    "  two  spaces\t\n\n  x_1 = 3.14159e-10; print('it\u2019s')\r\n",
    "\u9996\u5148\u8ba1\u7b97 12345 e\u0301 \u00e9 \ufb01 \U0001f642",
)
CODE = '''"""The tokenizer of tokenizer.json as it stands. Only read with trust_remote_code, which it does not need."""

from transformers import PreTrainedTokenizerFast


class R1Tokenizer(PreTrainedTokenizerFast):
    """Nothing but tokenizer.json: transformers would rebuild it from the vocabulary alone beside a qwen2 config."""
'''


def loads_as_trained(folder: Path) -> bool:
    """Whether `AutoTokenizer` of this folder cuts text as its tokenizer.json says; True where it has none."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        return True
    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:  # what transformers raises of files it does not understand
        raise ArtifactError(f"{folder}: transformers cannot load its tokenizer: {error}") from None
    written = Tokenizer.from_file(str(folder / "tokenizer.json"))
    written.no_padding()
    written.no_truncation()
    ids = found(list(PROBES), add_special_tokens=False)["input_ids"]
    return ids == [e.ids for e in written.encode_batch(list(PROBES), add_special_tokens=False)]


def make_loadable(folder: Path) -> bool:
    """Have `AutoTokenizer` (and so TRL and vLLM) read this folder's tokenizer.json as it is; returns whether it had to.

    Writes tokenizer_config.json anew and a module of a few lines beside it. ArtifactError where even so it is read otherwise.
    """
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = settings.get("auto_map") == CLASS_OF_ITS_OWN["auto_map"]
    if loads_as_trained(folder) and not named:
        return False
    settings |= CLASS_OF_ITS_OWN
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / f"{MODULE}.py").write_text(CODE, encoding="utf-8")
    if not loads_as_trained(folder):
        raise ArtifactError(
            f"{folder}: AutoTokenizer reads its tokenizer.json otherwise than it stands; load it with PreTrainedTokenizerFast"
        )
    return True
