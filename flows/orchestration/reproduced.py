"""Whether this machine made the same bytes as the committed dvc.lock, and how far apart the numbers are if not."""

import json
import subprocess
from pathlib import Path

import yaml

HINT = (
    "Another CPU family or another version of a library rounds differently, and training amplifies it: compare the "
    "metrics, not the bits. On the same machine, with the same `threads`, two runs give the same bytes."
)


def verdict(root: Path) -> str:
    """A paragraph for the end of a run."""
    committed, current = _show(root, "dvc.lock"), root / "dvc.lock"
    if committed is None:
        return "There is no committed dvc.lock to compare these artifacts with."
    if not current.is_file():
        return ""
    theirs, ours = _stages(committed), _stages(current.read_text())
    if changed := _changed_params(theirs, ours):
        keys = ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
        return (
            f"Other parameters than those of the committed dvc.lock ({keys}): its artifacts are no yardstick for these."
        )
    reference, made = _outs(theirs), _outs(ours)
    same = [p for p in reference if made.get(p) == reference[p]]
    if len(same) == len(reference):
        return f"{len(same)} of {len(reference)} artifacts reproduced bit for bit (md5 of the committed dvc.lock)."
    differing = [p for p in reference if p not in same]
    lines = [
        f"{len(same)} of {len(reference)} artifacts reproduced bit for bit; these differ from the committed dvc.lock:"
    ]
    lines += [f"  {path}{_distance(root, path)}" for path in differing]
    return "\n".join([*lines, HINT])


def _show(root: Path, path: str) -> str | None:
    """A file as committed in HEAD; paths are relative to `root`, which may lie below the top of the repository."""
    shown = subprocess.run(["git", "show", f"HEAD:./{path}"], cwd=root, capture_output=True, text=True)
    return shown.stdout if shown.returncode == 0 else None


def _stages(text: str) -> dict:
    return (yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}).get("stages") or {}


def _outs(stages: dict) -> dict[str, str]:
    return {out["path"]: out.get("md5", "") for stage in stages.values() for out in stage.get("outs", [])}


def _changed_params(theirs: dict, ours: dict) -> list[str]:
    """Keys whose values differ, of the stages that both locks hold."""

    def flat(stage: dict) -> dict:
        return {k: v for file in (stage.get("params") or {}).values() for k, v in file.items()}

    changed = []
    for name in theirs.keys() & ours.keys():
        a, b = flat(theirs[name]), flat(ours[name])
        changed += [k for k in a.keys() | b.keys() if a.get(k) != b.get(k)]
    return sorted(set(changed))


def _distance(root: Path, path: str) -> str:
    """pass@1 here and there, for a metrics file that has one."""
    if not path.endswith(".json"):
        return ""
    try:
        there, here = json.loads(_show(root, path) or ""), json.loads((root / path).read_text())
        a, b = there["pass_at_1"], here["pass_at_1"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"  pass_at_1 {b:.4f}, committed {a:.4f} ({b - a:+.4f})"
