"""`r1 canary`: whether the rewards of the recipe can be cheated, before any model is trained."""

from typing import Annotated

import typer

from flows.orchestration.root import find_root

WIDTH = 132  # columns that the table needs; a narrower terminal wraps it


def register(app: typer.Typer) -> None:
    app.command()(canary)


def canary(
    stages: Annotated[
        list[str] | None, typer.Argument(help="RL stages, e.g. `r1_zero dev2`; none: all.", show_default=False)
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="recipes/<name>.yaml or a file; without it, params.yaml")] = None,
) -> None:
    """Score gold solutions and cheats with each RL stage's rewards. Exit status 1 where a canary sings.

    Prompts: a built-in one of each kind, and the first of each domain of the stage's own where there is a prompt bank.
    """
    from flows.orchestration.params import check, read_yaml
    from flows.orchestration.recipe import recipe_file
    from tasks.rewards import canaries, canary_prompts
    from tasks.rewards.composition import compose
    from tasks.rewards.registry import Rewards

    root = find_root()
    path = recipe_file(root, recipe) if recipe else root / "params.yaml"
    values = read_yaml(path)
    known = [name for name, section in values.items() if isinstance(section, dict) and "rewards" in section]
    if strangers := [s for s in stages or [] if s not in known]:
        raise typer.BadParameter(
            f"{strangers[0]} has no `rewards` in {path.name}; stages that have: {', '.join(known)}"
        )
    bank, unconfined = _bank(root), _no_sandbox()
    singing = 0
    for stage in stages or known:
        section = values[stage]
        rewards = check(Rewards, section["rewards"], path.name, f"{stage}.rewards")
        own = [r for r in bank if r["source"] in [*section.get("sources", []), *section.get("general_sources", [])]]
        general = "general_sources" in section
        built_in = [r for r in canary_prompts.PROMPTS if general or canaries.verifiable(r["domain"], r["gold"])]
        if unconfined and not any(r["domain"] == "code" for r in own):
            built_in = [r for r in built_in if r["domain"] != "code"]
        composition = compose(rewards, _models(section))
        findings = canaries.check(composition, [*built_in, *canaries.choose(own)], values.get("template", "bare"))
        show(f"{stage}: {_told(rewards, section)}", findings, {r["id"] for r in own})
        singing += sum(bool(f.sings) for f in findings)
    if unconfined:
        typer.echo(f"The built-in canaries of domain code were left out: {unconfined}", err=True)
    raise typer.Exit(1 if singing else 0)


def _no_sandbox() -> str | None:
    """Why no program can be run here, with the remedy; None where one can. Prompts of code of one's own still need it."""
    from tasks.verification.verdict import VerificationError
    from tasks.verification.verify import require

    try:
        require(["code"])
    except VerificationError as error:
        return str(error)
    return None


def _bank(root) -> list[dict]:
    """Training prompts of the prompt bank; none where it is not built."""
    from flows.orchestration.dag import load_dag
    from tasks.prompts.stored import read_prompts

    folder = root / load_dag(root)["prompts"].outs[0]
    return read_prompts(folder, "train") if folder.is_dir() else []


def _models(section: dict) -> dict:
    """The preference reward in its place: canaries ask no model, but must know that one has a part in the sum."""
    from tasks.rewards.preference import preference

    weight = section.get("preference_weight")
    return {"preference": (preference(None, None), weight)} if weight else {}


def _told(rewards, section: dict) -> str:
    parts = [f"{term.weight:g} {name}" for name, term in rewards.terms().items()]
    if section.get("preference_weight"):
        parts.append(f"{section['preference_weight']:g} preference (not asked)")
    return " + ".join(parts)


def show(title: str, findings: list, own: set[str]) -> None:
    """One row for each domain and canary: over its prompts the worst score, beside full marks; then who sings."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from tasks.rewards.canaries import tell

    console = Console()
    console.width = max(console.width, WIDTH)
    names = list(dict.fromkeys(name for f in findings for name in f.rewards))
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in ("domain", "canary", "prompts"):
        table.add_column(name, no_wrap=True, justify="right" if name == "prompts" else "left")
    for name in (*names, "sum", "full marks"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    groups: dict[tuple[str, str], list] = {}
    for f in findings:
        groups.setdefault((f.canary.prompt["domain"], f.canary.name), []).append(f)
    shown = None
    for (domain, name), group in groups.items():
        if domain != shown:
            table.add_section()
        shown = domain
        worst = max(group, key=lambda f: (bool(f.sings), _margin(f)))
        mine = sum(f.canary.prompt["id"] in own for f in group)
        table.add_row(
            domain, name, f"{len(group)}" + (f" ({mine} own)" if mine else ""),
            *(_number(worst.rewards[n]) for n in names), _number(worst.total), _number(worst.full),
            "[red]SINGS[/red]" if worst.sings else "silent",
        )  # fmt: skip
    console.print(table)
    singing = [f for f in findings if f.sings]
    for f in singing:
        console.print(f"SINGS  {tell(f)}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(findings) - len(singing)} of {len(findings)} canaries are silent", highlight=False)


def _margin(f) -> float:
    """How near a cheat came to full marks, or a gold stayed away from them."""
    if f.total is None or f.full is None:
        return float("inf")
    return f.full - f.total if f.canary.gold else f.total - f.full


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
