"""What became of a row, in one line: the same of one row (`r1 why`) and of a page of rows (`r1 audit`)."""


def fate(
    kind: str, reason: dict | None, sets: list[str], prompt: dict | None, decided: bool, asked: int | None = None
) -> str:
    """`reason`: the first rule that rejected the row (rule, stage, artifact). `sets`: artifacts it ended in.

    `decided`: whether any rule decided on it. `asked`: of a prompt, how many completions it has, where they were counted.
    """
    if kind == "dropped_prompt" or kind.startswith("dropped by"):
        return f"dropped by {reason['rule']} before any sampling" if reason else "dropped"
    rejected = f"rejected by {reason['rule']} ({reason['stage']}) in {reason['artifact']}" if reason else None
    if kind == "prompt":  # one stage may leave it out and others use it
        told = f"a prompt of split {prompt['split']}" if prompt else "a prompt"
        return told + (f", asked {asked} times" if asked is not None else "") + (f"; {rejected}" if rejected else "")
    if rejected:
        return rejected
    if sets:
        return f"kept: in {', '.join(dict.fromkeys(sets))}"
    if prompt and prompt["split"] == "final":
        return "a sample of an evaluation: no set may hold it"
    return "kept by every rule, and in no set" if decided else "no rule decided on it"
