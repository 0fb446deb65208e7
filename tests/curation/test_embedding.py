import random

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tasks.curation.embedding as embedding
from tasks.curation.embedding import embeddings, similar_pairs
from tasks.curation.policy import Deduplication
from tests.curation.test_near_duplicates import found, oracle, run

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny encoder with random weights and a window of 24 tokens."""
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(special + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=24, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=64, max_position_embeddings=24, **sizes)).save_pretrained(folder)
    return folder


def corpus(seed: int, size: int = 60) -> list[str]:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 60))) for _ in range(size)]
    return texts + [t + " w1" for t in texts[::4]] + ["", "w5"]


def one_by_one(encoder, texts: list[str]) -> np.ndarray:
    """Unit mean vectors, a text and a window at a time, without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    vectors = []
    for text in texts:
        words = tokenizer.convert_tokens_to_ids(text.split())
        hidden = [
            model(torch.tensor([[2, *words[i : i + 22], 3]])).last_hidden_state[0].detach().double()
            for i in range(0, max(1, len(words)), 22)
        ]
        mean = torch.cat(hidden).mean(0)
        vectors.append((mean / mean.norm()).numpy())
    return np.array(vectors)


def test_mean_pooling_over_windows_in_any_order(encoder):
    texts = corpus(0)
    rows, vectors = embeddings(encoder, [(np.arange(len(texts)), pa.array(texts))])
    assert rows.tolist() == list(range(len(texts))) and np.allclose(vectors, one_by_one(encoder, texts), atol=1e-5)
    order = np.random.default_rng(0).permutation(len(texts))
    pieces = [(order[i : i + 7], pa.array([texts[k] for k in order[i : i + 7]])) for i in range(0, len(order), 7)]
    assert np.array_equal(embeddings(encoder, pieces)[1], vectors)


def test_pairs_are_all_that_reach_the_threshold(encoder, monkeypatch):
    texts = corpus(1)
    vectors = one_by_one(encoder, texts)
    cosine = vectors @ vectors.T
    above = np.sort(cosine[np.triu_indices(len(texts), 1)])
    threshold = float(above[-60] + above[-61]) / 2
    expected = {(i, j) for i, j in np.argwhere(cosine >= threshold).tolist() if i < j}
    stream = [(np.arange(len(texts)), pa.array(texts))]
    left, right, values = similar_pairs(encoder, stream, threshold)
    assert set(zip(left.tolist(), right.tolist())) == expected and len(left) == len(expected) == 60
    assert np.allclose(values, cosine[left, right], atol=1e-5)
    monkeypatch.setattr(embedding, "BLOCK", 11)
    for a, b in zip(similar_pairs(encoder, stream, threshold), (left, right, values)):
        assert np.array_equal(a, b)
    monkeypatch.setattr(embedding, "MAX_PAIRS", 59)
    with pytest.raises(ValueError, match="more than 59 pairs of 77 texts.*raise embedding_similarity"):
        similar_pairs(encoder, stream, threshold)


def test_rows_with_near_embeddings_equal_plain_sql(encoder, tmp_path):
    rng = random.Random(4)
    texts = corpus(2)
    texts += rng.choices(texts, k=25)
    rng.shuffle(texts)
    rows = [
        {"id": f"c{i:04}", "prompt_id": f"p{rng.randrange(9)}", "text": t, "index": 0, "passes": rng.random() < 0.9}
        for i, t in enumerate(texts)
    ]
    first = {t: i for i, t in reversed(list(enumerate(texts)))}
    distinct = sorted(first.values())
    stream = [(np.array(distinct), pa.array([texts[i] for i in distinct]))]
    _, _, every = similar_pairs(encoder, stream, -1.0)
    policy = Deduplication(embedding=str(encoder), embedding_similarity=float(np.sort(every)[-80]), within_prompt=0.8)
    left, right, values = similar_pairs(encoder, stream, policy.embedding_similarity)
    near = dict(zip(zip(left.tolist(), right.tolist()), values.tolist()))
    links = []
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            value = 1.0 if a == b else near.get((min(first[a], first[b]), max(first[a], first[b])))
            if i != j and value is not None:
                links.append((i, j, value))
    con = run(rows, policy, tmp_path)
    result = found(con)
    assert result == oracle(con, rows, policy, links)
    assert sum(kind == "embedding" and similarity < 1 for *_, similarity, _, kind in result) > 10
    [decisions] = con.execute("SELECT decisions FROM deduplication WHERE row = ?", [result[0][0]]).fetchall()[0]
    assert decisions[-1]["rule"] == "embedding" and decisions[-1]["threshold"] == policy.embedding_similarity


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        similar_pairs(tmp_path, [], 0.9)
