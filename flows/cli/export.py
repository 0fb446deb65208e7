"""`r1 export`: an artifact as a folder that `datasets`, TRL, transformers and vLLM read, with a card; and to the Hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.orchestration.root import ParamsError, find_root

EXAMPLES = (
    "Examples:\n\n  r1 export sft_data --to out/sft\n\n  r1 export r1 --to out/r1 --licence Apache-2.0\n\n"
    "  r1 export reward_models/helpful --to out/helpful\n\n"
    "  r1 export sft_data --to out/sft --push me/r1-sft --dry-run\n\n"
    "  r1 export sft_data --to out/sft --licence CC-BY-SA-4.0 --push me/r1-sft --public"
)


def register(app: typer.Typer) -> None:
    """Add `export` to the r1 command."""
    app.command("export", epilog=EXAMPLES)(export)


def export(
    artifact: Annotated[
        str, typer.Argument(help="A set or a checkpoint: sft_data, data/17_r1, distill/qwen, reward_models/helpful")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder for it; an earlier export there is replaced.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="trl: conversational (the usual one of sets of prompts, SFT examples and preferences); sft: prompt and "
            "completion as texts; rows: the tables as they are; transformers: a checkpoint.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="SPDX", help="Licence to release it under; held to what its sources allow.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="On its card; by default the artifact's.", show_default=False)
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Also push the folder to this repository of the Hub, private.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --push: let everybody see it. Needs --licence.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push: write the folder, say what would be pushed, send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print lineage.json and what was pushed.")] = False,
) -> None:
    """Write an artifact for others: Parquet that `load_dataset` loads, or a checkpoint, with README.md and lineage.json.

    The card is made from the lineage: sources and licences, how it was sampled and verified, protocol and numbers, parameters
    and checksums of all it was made from. Sets are in TRL's conversational format unless another is asked for; a checkpoint
    gets the recipe's prompt template as chat template.

    A push is refused where a licence is unknown, where licences allow no common release, where a source was revoked, and
    where what stands here is not what the artifact was made of. HF_TOKEN or `hf auth login` says who you are; HF_ENDPOINT names
    another server than huggingface.co.

    Exit status: 0 written (and pushed); 1 it was not, and why.
    """
    if (public or dry_run) and push is None:
        raise ParamsError("--public and --dry-run say how to push: give --push OWNER/NAME with them")
    facts = _facts(artifact)
    from tasks.publishing.export import export as write
    from tasks.publishing.licence import chosen

    if push:
        from tasks.publishing import hub

        hub.check(push, public, chosen(licence, facts.releases, facts.path, facts.asks_nothing), facts.problems)
    found = write(facts, to, format, licence, name or (push.split("/")[1] if push else None))
    pushed = None
    if push and not dry_run:
        message = f"{facts.path} of r1flow at {(facts.books.commit or 'no commit')[:12]}"
        pushed = hub.push(to, push, "model" if facts.is_checkpoint else "dataset", public, message)
    if as_json:
        typer.echo(json.dumps(found | {"folder": str(to), "pushed": pushed}, indent=1, ensure_ascii=False))
        return
    _tell(facts, found, to)
    if pushed:
        typer.echo(f"pushed, {pushed['visibility']}: {pushed['url']} at {pushed['commit'][:12]}")
    elif push:
        size = sum(entry["bytes"] for entry in found["files"].values())
        typer.echo(
            f"dry run: {len(found['files']) + 1} files, {size:,} bytes would go to {push}, {'public' if public else 'private'}; nothing was sent"
        )


def _facts(artifact: str):
    """The facts of what is named: an output of a stage, or a folder in one; ParamsError where there is none."""
    from flows.orchestration.books import books_of
    from flows.orchestration.lineage import Lineage
    from tasks.publishing.facts import facts_of

    root = find_root()
    record, path = Lineage.at(root).find(artifact)
    if path is None:
        outs = list(record.outs)
        if len(outs) != 1:
            raise ParamsError(f"stage {record.stage} has {len(outs)} outputs: name one, {', '.join(outs)}")
        path = outs[0]
    parts = Path(artifact.strip("/")).parts
    inside = (
        "/".join(parts[i:]) for i in range(len(parts))
    )  # reward_models/helpful: `helpful` is a folder of the output
    path = next(
        (f"{path}/{rest}" for rest in inside if rest not in (".", "..") and (root / path / rest).is_dir()), path
    )
    return facts_of(books_of(root), record.stage, path)


def _tell(facts, found: dict, to: Path) -> None:
    rows = ", ".join(f"{path} {entry['bytes']:,} bytes" for path, entry in found["files"].items())
    typer.echo(f"{facts.path} as {found['format']}: {to} ({rows})")
    for s in found["sources"]:
        typer.echo(f"  {s['rows']:,} rows of {s['source']}, {s['licence']}: {s['asks']}")
    typer.echo(
        f"  licence: {found['licence'] or 'none chosen (--licence); open to it: ' + (', '.join(found['releases']) or 'none')}"
    )
    for problem in found["problems"]:
        typer.echo(f"  not to be published: {problem}")
    if found["changes"]:
        stages = len({change.partition(":")[0] for change in found["changes"]})
        typer.echo(
            f"  code, parameters or data of {stages} stages behind it have changed since; `r1 status` names them"
        )
