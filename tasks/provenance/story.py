"""The chain of a row as people read it: the decisive rule first, then a line for each link, then rules and siblings."""

import re
from collections.abc import Iterable, Iterator

SHOWN = 12  # siblings, samples, sets and rows that repeat it; --json has all
EXCERPT = 300  # characters of a text
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # the last ones reorder a line


def told(found: dict, console) -> None:
    """Print what tasks/provenance/chain.py found on a rich Console."""
    from rich.table import Table

    reason = found["decisive"]
    console.print(_text(f"{found['id']}: {found['fate']}", "bold red" if reason else "bold green"))
    if reason:
        console.print(_text(f"  {reason['rule']}: {_against(reason)}{_because(reason['evidence'])}"))
    console.print()
    links = Table.grid(padding=(0, 2))
    links.add_column(style="dim", no_wrap=True)
    links.add_column(overflow="fold")
    for name, line in _links(found):
        links.add_row(name, _text(line))
    console.print(links)
    if others := found["siblings"] or found["samples"]:
        console.print(completions(others, "Siblings" if found["siblings"] else "Samples"))
    if found["decisions"]:
        console.print(rules(found["decisions"]))


def rules(decisions: Iterable[dict]):
    """Every rule with its value and threshold, as a rich Table; those that reject say so."""
    from rich import box
    from rich.table import Table

    table, place = Table(box=box.SIMPLE, pad_edge=False), None
    for name in ("stage", "rule", "value", "threshold", "", "evidence"):
        table.add_column(name, justify="right" if name in ("value", "threshold") else "left", overflow="fold")
    for d in decisions:
        if d.get("artifact") != place:  # those of `r1 curate` are of one run
            place = d["artifact"]
            table.add_row(_text(f"{place}:", "dim"))
        words = (d["stage"], d["rule"], number(d["value"]), number(d["threshold"]), "" if d["keep"] else "REJECTS")
        table.add_row(*map(_text, (*words, d["evidence"] or "")))
    return table


def completions(rows: list[dict], title: str):
    """Other completions of the prompt, as a rich Table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, title=f"{title}: {len(rows)}", title_justify="left")
    for name in ("", "completion", "verdict", "answer", "tokens", "came of it"):
        right = "right" if name == "tokens" else "left"
        table.add_column(name, justify=right, overflow="fold", no_wrap=name == "completion")
    for row in rows[:SHOWN]:
        tokens = "" if row["tokens"] is None else f"{row['tokens']:,}"
        words = (str(row["index"]), row["id"], row["status"] or "", row["extracted"] or "", tokens, came_of(row))
        table.add_row(*map(_text, words))
    if len(rows) > SHOWN:
        table.add_row("", _text(f"and {len(rows) - SHOWN} more: --json"))
    return table


def came_of(outcome: dict) -> str:
    """What came of a candidate, from its kept, stage and rule."""
    if outcome["kept"] is None:
        return outcome.get("checkpoint") or outcome.get("table") or "not decided on"
    return "kept" if outcome["kept"] else f"rejected by {outcome['rule']} ({outcome['stage']})"


def duplicate(title: str, other: dict) -> str:
    """A near duplicate in a line."""
    return (
        f"{title} {other['id']} ({other['kind']}, {other['scope']}, Jaccard {other['jaccard']:.3f}): {came_of(other)}"
    )


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}"


def _links(found: dict) -> Iterator[tuple[str, str]]:
    """(name, line) of each link of the chain that there is."""
    row, prompt, made = found["row"], found["prompt"], found["completion"]
    yield "Kind", f"{found['kind'].replace('_', ' ')} of {', '.join(found['where']) or 'no table'}"
    if prompt:
        yield (
            "Prompt",
            f"{prompt['id']}: {_short(prompt['text'])}" + (f"  [gold {prompt['gold']}]" if prompt["gold"] else ""),
        )
        yield "Source", _source(prompt)
    if kept := found["repeats"]:
        yield (
            "Repeats",
            f"{kept['id']}, which is kept: {kept['origin']}, licence {kept['licence']}, split {kept['split']}",
        )
        yield "Text", _short(kept["text"])
    if made:
        yield "Sampled", _sampled(made)
        yield "Response", _short(made["text"])
    elif row:
        yield from (
            (name.capitalize(), _short(row[name])) for name in ("response", "chosen", "rejected") if row.get(name)
        )
    if note := found["annotation"]:
        if not prompt:
            yield "Prompt", f"{note['prompt_id']}, in no table: {_short(note['prompt'])}  [gold {note['gold']}]"
        yield (
            "Annotated",
            f"{note['verdict']} by {note['annotator']}, {note['file']}:{note['line']}: {note['note'] or ''}",
        )
    if row and found["kind"] in ("preference_pair", "safety_label"):
        facts = {k: row[k] for k in ("split", "fault", "gap", "safe", "labelled_by") if k in row}
        yield "Label", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in facts.items())
    yield from _judged(found)
    yield from _ended(found)


def _source(prompt: dict) -> str:
    entry = prompt["source_entry"] or {}
    kind = next((f"{k} {entry[k]}" for k in ("path", "hub", "gym", "family") if entry.get(k)), None)
    revision = f"revision {entry['revision'][:12]}" if entry.get("revision") else None
    file = prompt["origin"].rpartition(":")[0]
    sums = [f"sha256 {s[:12]}" for name, s in prompt["source_files"].items() if name == file]
    facts = (
        prompt["source"],
        prompt["origin"],
        kind,
        revision,
        *sums,
        f"licence {prompt['licence']}",
        f"split {prompt['split']}",
    )
    return " · ".join(filter(None, facts))


def _sampled(made: dict) -> str:
    settings = made["settings"] if isinstance(made["settings"], dict) else {"settings": made["settings"]}
    who = made["checkpoint"] or made["model"]
    said = ", ".join(f"{k} {v}" for k, v in sorted(settings.items()))
    length = f"{made['tokens']:,} tokens, " if made["tokens"] is not None else ""
    return f"{who} · {made['engine']} · {said} · sample {made['index']}, {length}finish {made['finish']}"


def _judged(found: dict) -> Iterator[tuple[str, str]]:
    if verdict := found["verdict"]:
        said = f"extracted {verdict['extracted']}, gold {verdict['gold']}"
        detail = f" · {_short(verdict['detail'])}" if verdict["detail"] else ""
        yield "Verdict", f"{verdict['status']} · {said} · {verdict['method']} · verifier {verdict['verifier']}{detail}"
    if judge := found["judge"]:
        yield "Judge", f"judge {judge['judge']}, rules {judge['rule']} ({judge['method']}) · {judge['detail']}"
    if clean := [d for d in found["contamination"] if d["keep"]]:
        yield "Evaluation sets", "clean: " + ", ".join(f"{d['rule']} {_against(d)}" for d in clean)
    for d in found["contamination"]:
        if not d["keep"]:
            yield "Evaluation sets", f"CONTAMINATED by {d['rule']}: {_against(d)}{_because(d['evidence'])}"
    for title, key in (("Duplicate of", "duplicate_of"), ("Makes superfluous", "duplicates")):
        for other in _grouped(found[key])[:SHOWN]:
            yield title, duplicate("", other).strip()
    for d in found["dropped_repeats"][:SHOWN]:
        yield "Kept, dropped", f"{d['row_id']} ({d['rule']}): {d['evidence']}"
    if (more := len(found["dropped_repeats"]) - SHOWN) > 0:
        yield "", f"and {more} more: --json"


def _grouped(duplicates: list[dict]) -> list[dict]:
    """One entry for each other row, with all kinds of likeness in one."""
    of: dict[str, list[dict]] = {}
    for other in duplicates:
        of.setdefault(other["id"], []).append(other)
    joined = lambda all, name: ", ".join(dict.fromkeys(o[name] for o in all))
    return [
        all[0] | {"kind": joined(all, "kind"), "scope": joined(all, "scope"), "jaccard": max(o["jaccard"] for o in all)}
        for all in of.values()
    ]


def _ended(found: dict) -> Iterator[tuple[str, str]]:
    sets = found["sets"]
    for s in sets[:SHOWN]:
        yield "In set", f"{s['artifact']}/{s['table']} as {s['id']}" + (f" ({s['split']})" if s["split"] else "")
    if len(sets) > SHOWN:
        yield "", f"and {len(sets) - SHOWN} more: --json"
    if not sets:
        yield "In set", "none"
    for c in found["checkpoints"]:
        yield "Checkpoint", f"{c['artifact']}: {c['how']}"


def _against(d: dict) -> str:
    if d["value"] is None and d["threshold"] is None:
        return "no value"
    return f"value {number(d['value']) or 'none'}, threshold {number(d['threshold']) or 'none'}"


def _because(evidence: str | None) -> str:
    return f"; {evidence}" if evidence else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"


def printable(words: str) -> str:
    """Control characters of a row's text as Python writes them: a terminal would obey them. Line ends and tabs stay."""
    return _CONTROL.sub(lambda sign: ascii(sign[0])[1:-1], words)


def _text(words: str, style: str = ""):
    from rich.text import Text

    return Text(printable(words), style)


def matches(match: dict, console) -> None:
    """Which rows a text was found in; of near ones how near each is."""
    rows = match["rows"]
    if match["match"] == "nearest":
        console.print(_text("No row has this text. The nearest ones, by Jaccard of stretches of three characters:"))
        for hit in rows:
            console.print(_text(f"  {hit['similarity']:.2f}  {hit['id']}  {hit['table']}: {_short(hit['text'])[:120]}"))
        return
    equal = "exactly" if match["match"] == "exact" else "but for case, spaces and punctuation"
    ids = list(dict.fromkeys(hit["id"] for hit in rows))
    more = f", and perhaps in {match['unread']} more, which were not read" if match["unread"] else ""
    console.print(_text(f"Found {equal} in {len(ids)} rows{more}; this is the first of them."))
    for id in ids[1:SHOWN]:
        console.print(_text(f"  also {id}"))
    console.print()
