"""Cards are made of the lineage: the Hub's metadata reads back, every number and source is that of the books."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import DatasetCard, ModelCard

from tasks.provenance.artifacts import ArtifactError
from tasks.publishing import cards
from tasks.publishing.export import export
from tasks.publishing.facts import facts_of
from tasks.publishing.licence import chosen, metadata
from tests.publishing.conftest import books_at

ALL = ("attribution or notice", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "GPL-3.0-only")


def test_a_sets_card(published, tmp_path):
    export(facts_of(books_at(published), "sft_data", "data/13_sft_data"), tmp_path / "sft", None, "cc-by-4.0", "sums")
    card = DatasetCard.load(tmp_path / "sft/README.md")
    assert (
        card.data.license == "cc-by-4.0" and card.data.pretty_name == "sums" and card.data.size_categories == ["n<1K"]
    )
    split = {"split": "train", "path": "data/train-*.parquet"}
    assert card.data.configs == [{"config_name": "default", "data_files": [split]}]
    metrics = json.loads((published / "metrics/sft_data.json").read_text())
    assert "Released under **CC-BY-4.0**" in card.text and "| sums | MIT | 48 | the notice |" in card.text
    assert "| general | CC-BY-4.0 | 16 | attribution |" in card.text
    assert (
        f"| rows | {metrics['rows']:,} |" in card.text
        and f"| domains.qa.rows | {metrics['domains']['qa']['rows']} |" in card.text
    )
    assert 'template: "bare"' in card.text and "c0de" * 4 in card.text
    assert "| candidates | candidates (paper 2) | data/09_candidates |" in card.text
    assert "| candidates | data/08_dev2 | transformers |" in card.text and "| 240 |" in card.text
    assert card.text.count("\n\n\n") == 0


def test_a_models_card(published, tmp_path):
    export(facts_of(books_at(published), "r1", "data/17_r1"), tmp_path / "r1")
    card = ModelCard.load(tmp_path / "r1/README.md")
    assert (card.data.license, card.data.license_name) == ("other", "none-chosen")
    assert card.data.library_name == "transformers" and card.data.pipeline_tag == "text-generation"
    found = {e.metric_type: (e.metric_value, e.dataset_name) for e in card.data.eval_results}
    words = "1000 problems of the final split (sums), k = 4 samples each, T = 1, top-p 1, at most 32768 tokens"
    assert found["pass_at_1"][0] == 0.5 and found["pass_at_1"][1].startswith(words)
    assert words in card.text and "| pass_at_1 | 0.5 |" in card.text and "No licence has been chosen" in card.text
    assert "Qwen2ForCausalLM, 1 layers, hidden size 32, float32" in card.text


def test_names_from_outside_stay_text(published, tmp_path):
    found = books_at(published)
    facts = facts_of(found, "sft_data", "data/13_sft_data")
    facts.__dict__["sources"] = [{"source": "a|b\n# <script>", "licence": "MIT", "rows": 1, "asks": "the notice"}]
    text = cards._dataset(
        facts, "trl", None, "x", {"configs": {"default": {"folder": "data", "splits": {"train": 1}, "columns": {}}}}
    )
    assert "| a\\|b # &lt;script> | MIT | 1 |" in text


def test_a_base_from_the_hub_is_named(published):
    found = books_at(published)
    base = replace(
        found.stages["dev2"], stage="base", name="base", outs={}, params={"base": {"model": {"hub": "Qwen/Qwen2.5-7B"}}}
    )
    r1 = replace(found.stages["r1"], upstream=("base",))
    facts = facts_of(replace(found, stages=found.stages | {"base": base, "r1": r1}), "r1", "data/17_r1")
    assert cards._base(facts) == ["Qwen/Qwen2.5-7B"]


@pytest.mark.parametrize(
    ("name", "releases", "gives"),
    [
        ("mit", ALL, {"license": "mit"}),
        ("CC-BY-SA-4.0", ALL[1:2], {"license": "cc-by-sa-4.0"}),
        ("GPL-3.0-only", ALL, {"license": "gpl-3.0"}),
        ("Llama-3.1", ("Llama Community License",), {"license": "llama3.1"}),
        ("CC-BY-NC-4.0", ALL[2:4], {"license": "cc-by-nc-4.0"}),
        (None, (), {"license": "other", "license_name": "none-chosen"}),
    ],
)
def test_licences_that_are_open(name, releases, gives):
    assert metadata(chosen(name, releases, "set")) == gives


@pytest.mark.parametrize(
    ("name", "releases", "said"),
    [
        ("MIT", ALL[1:2], "set cannot be released under MIT: its sources allow CC-BY-SA-4.0"),
        ("Apache-2.0", ("GPL-2.0-only",), "allow GPL-2.0-only"),
        ("CC-BY-NC-ND-4.0", ALL, "cannot be released under CC-BY-NC-ND-4.0"),
        ("MIT", (), "allow none"),
        ("my own", ALL, "licence 'my own' is none that is known"),
        ("generated", ALL, "licence 'generated' is none that is known"),
        ("CC0-1.0", ALL, "under CC0-1.0, which drops the notices that its sources ask for"),
    ],
)
def test_licences_that_are_not(name, releases, said):
    with pytest.raises(ArtifactError, match=said):
        chosen(name, releases, "set")


def test_what_asks_for_nothing_may_be_given_away():
    assert metadata(chosen("CC0-1.0", ALL, "set", asks_nothing=True)) == {"license": "cc0-1.0"}
