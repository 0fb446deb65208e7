"""The report of `r1 contamination`: one HTML file that opens offline, overlaps side by side, shared words marked."""

import os
from pathlib import Path

from tasks.curation.contamination_overlap import Comparison, Pair
from tasks.curation.contamination_sets import TextSet

HERE = Path(__file__).parent
Part = tuple[str, int | None]  # text, the run it is marked as; None: not marked


def write_html(found: Comparison, target: Path, limit: int) -> Path:
    """Write `target` by rename, with the `limit` strongest overlaps; texts are data there, never markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pairs = found.strongest(limit)
    page = environment.get_template("contamination.html.j2").render(
        a=_set(found.a),
        b=_set(found.b),
        css=Markup((HERE / "contamination.css").read_text()),
        tiles=_tiles(found),
        templates=_templates(found),
        ngram=found.ngram,
        max_document_frequency=found.max_document_frequency,
        boilerplate=found.boilerplate,
        pairs=[_pair(found, pair) for pair in pairs],
        left_out=len(found.row) - len(pairs),
    )
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(target)
    return target


def _set(s: TextSet) -> dict:
    return {"name": s.name, "column": s.column, "rows": len(s.texts), "opening": s.opening, "ending": s.ending}


def _templates(found: Comparison) -> list[tuple[str, str, str]]:
    return [
        (letter, where, text.strip())
        for letter, s in (("A", found.a), ("B", found.b))
        for where, text in (("opening", s.opening), ("ending", s.ending))
        if text
    ]


def _tiles(found: Comparison) -> list[dict]:
    """Items of B by kind of overlap, rows of A at the end."""
    lines = found.table()
    tiles = [
        {
            "label": line["overlap"],
            "value": f"{line['items']:,} items",
            "note": f"{line['items_share']:.1%} of B, by {line['rows']:,} rows of A",
            "share": line["items_share"],
        }
        for line in lines
    ]
    either = lines[-1]
    rows = {
        "label": "rows of A that overlap",
        "value": f"{either['rows']:,} rows",
        "note": f"{either['rows_share']:.2%} of A",
        "share": either["rows_share"],
    }
    return [*tiles[:-1], rows]


def _pair(found: Comparison, pair: Pair) -> dict:
    (_, origin_a, text_a, spans_a), (_, origin_b, text_b, spans_b) = found.sides(pair)
    return {
        "exact": pair.exact, "shared": pair.shared, "coverage": pair.coverage, "origin_a": origin_a,
        "origin_b": origin_b, "parts_a": parts(text_a, spans_a), "parts_b": parts(text_b, spans_b),
    }  # fmt: skip


def parts(text: str, spans: list) -> list[Part]:
    """The text cut at its spans, nothing lost: the parts joined are the text."""
    out, at = [], 0
    for span in spans:
        out += [(text[at : span.start], None), (text[span.start : span.end], span.run)]
        at = span.end
    return [part for part in [*out, (text[at:], None)] if part[0]]
