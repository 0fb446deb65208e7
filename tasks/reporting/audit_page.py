"""The audit as one HTML file that opens offline: what was proved, what was found, and a sample of every set.

The same page is what `r1 audit --serve` shows (tasks/reporting/audit_server.py); there its browser asks for all rows
instead of the sample. Text of rows is data in the page, never markup.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.reporting.words import DASH, count

HERE = Path(__file__).parent


def render(
    checks: Sequence[Mapping], sets: Sequence[Mapping], samples: Mapping, sampled: int, commit: str | None,
    live: bool = False, left_out: Sequence[str] = (),
) -> str:  # fmt: skip
    """The page. `checks` are Check.as_json(), `sets` Browser.sets(), `samples` up to `sampled` rows by name of the set.

    `left_out`: names of the checks that were not run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": lambda n: DASH if n is None else count(n),
        "size": _size,
        "share": _share,
        "code": _code,
    }
    facts = {c["check"]: c["facts"] for c in checks}
    data = {"sets": list(sets), "samples": dict(samples), "live": live}
    return environment.get_template("audit.html.j2").render(
        css=Markup((HERE / "report.css").read_text() + (HERE / "audit.css").read_text()),
        script=Markup((HERE / "audit.js.j2").read_text()),
        data=Markup(_inline(data)),
        checks=checks,
        violations=sum(f["level"] == "violation" for c in checks for f in c["findings"]),
        remarks=sum(f["level"] == "remark" for c in checks for f in c["findings"]),
        facts=facts,
        flow=facts.get("counts", {}).get("flow", []),
        equations=facts.get("counts", {}).get("equations", []),
        licences=facts.get("licences", {}),
        protocol=facts.get("protocols", {}),
        contamination=facts.get("contamination", {}),
        rows=sum(s["rows"] for s in sets),
        sets=sets,
        sampled=sampled,
        commit=commit,
        live=live,
        left_out=left_out,
    )


def write(page: str, target: Path) -> Path:
    """Write `target` in one step; a reader never sees half of it."""
    half = target.with_suffix(".html.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    half.write_text(page, encoding="utf-8")
    half.replace(target)
    return target


def as_json(data) -> str:
    """JSON that every browser reads: NaN and infinities, which JSON has not, and values of other types as text."""
    return json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)


def _finite(data):
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def _inline(data: Mapping) -> str:
    """JSON inside a script element: nothing in it can end the element, or begin another."""
    return as_json(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")  # fmt: skip


def _size(bytes: int) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if bytes < 1000 or unit == "GB":
            return f"{bytes:.0f} {unit}" if unit == "B" else f"{bytes:.1f} {unit}"
        bytes /= 1000
    return ""


def _code(text: str):
    """`words` between backticks as code."""
    from markupsafe import Markup, escape

    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`")))  # fmt: skip


def _share(part: int | None, whole: int | None) -> float:
    """Per cent, for the width of a bar."""
    return 100 * (part or 0) / whole if whole else 0.0
