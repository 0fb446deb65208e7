"""Agreement of the rule verifiers with graded outputs and golds: choices, quantities, logic, instructions.

    .venv/bin/python benchmarks/rules_agreement.py [choices | puzzles | gym | quantities | instructions] …

Reads the real inputs from ../shared/data (R1_SHARED_DATA names another folder). Every disagreement is put into a class
with its reason, or printed as UNEXPLAINED; the exit code is 1 where one is. With lm-eval, nltk's punkt_tab and
immutabledict installed, the instruction checks are also compared with lm-eval's copy of IFEval's own.
"""

import collections
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DATA = Path(os.environ.get("R1_SHARED_DATA", ROOT.parent / "shared" / "data"))

from benchmarks.rules_planted import FOLLOWED
from tasks.prompts.sources import Source, read_rows_of, read_source
from tasks.verification.instructions import domain as instructions
from tasks.verification.verify import gold_problems, verify_all

# (task or *, our status, did reasoning-gym give full marks) -> (who is right, why)
GYM_CLASSES = {
    ("cryptarithm", "ok", False): (
        "ours",
        "another solution of the sum; the scorer of that day knew only the stored one",
    ),
    ("power_function", "ok", False): ("ours", "1.00e+0 is 1; the scorer of that day gave .01 to an equal number"),
    ("fraction_simplification", "ok", False): ("ours", r"the right fraction in \boxed{\dfrac…} inside the tag"),
    ("countdown", "wrong", True): (
        "ours",
        "it uses a number twice, or one that is not given; the scorer did not look then",
    ),
    ("game_of_life_halting", "wrong", True): ("ours", "a wrong answer; to the scorer every text is right: bool(text)"),
    ("*", "two answers", True): (
        "undecidable",
        "the model answers, doubts, and answers again; we take no second answer",
    ),
    ("*", "too long", True): (
        "theirs",
        "a right answer of more than 1,000 characters, the limit of the final-answer rule",
    ),
}


def main(sections: list[str]) -> int:
    known = {"choices": choices, "puzzles": puzzles, "gym": gym, "quantities": quantities, "instructions": ifeval}
    if unknown := set(sections) - set(known):
        sys.exit(f"no section {', '.join(unknown)}; there are {', '.join(known)}")
    if not DATA.is_dir():
        sys.exit(f"no real inputs at {DATA}; R1_SHARED_DATA names another folder")
    unexplained = 0
    for name in sections or known:
        start = time.perf_counter()
        print(f"\n== {name}")
        unexplained += known[name]()
        print(f"   {time.perf_counter() - start:.1f} s")
    return 1 if unexplained else 0


def compare(cases: list[tuple[dict, str, str]], explain: Callable[[dict, str, str, str], str | None], what: str) -> int:
    """Verdicts on (prompt, answer, expected status), disagreements by class; the number without one."""
    verdicts = verify_all([prompt for prompt, _, _ in cases], [f"<answer>{answer}</answer>" for _, answer, _ in cases])
    classes: dict[str, list] = collections.defaultdict(list)
    for (prompt, answer, expected), verdict in zip(cases, verdicts):
        if verdict.status != expected:
            reason = explain(prompt, answer, expected, verdict.status) or "UNEXPLAINED"
            classes[reason].append((prompt["id"], answer[:80], expected, verdict.status, verdict.detail))
    agreed = len(cases) - sum(map(len, classes.values()))
    print(f"{what}: {agreed} of {len(cases)} as expected ({agreed / len(cases):.4%})")
    for reason, rows in sorted(classes.items()):
        print(f"   {len(rows):5}  {reason}")
        for row in rows[: None if reason == "UNEXPLAINED" else 3]:
            print(f"          {row}")
    return len(classes["UNEXPLAINED"])


def prompts_of(form: str, path: str) -> list[dict]:
    """Rows of a shared file as the prompt bank makes them, by name of origin."""
    source = Source(name=form, path=str(DATA / path), format=form, licence="see MANIFEST.jsonl")
    return [
        {"id": row.origin.rpartition("/")[2], "domain": row.domain, "gold": row.gold, "meta": json.dumps(row.meta),
         "problem": row.problem}
        for row in read_source(source, ROOT, 0).rows
    ]  # fmt: skip


def choices() -> int:
    """MMLU's test golds: every option in five spellings; the gold's are ok, all others wrong."""
    cases, rejected = [], []
    prompts = prompts_of("mmlu", "mmlu/mmlu.zip/data/test/*.csv")
    for prompt, problem in zip(prompts, gold_problems(prompts)):
        if problem := prompt["problem"] or problem:
            rejected.append(f"{prompt['id']}: {problem}")
            continue
        for label, text in json.loads(prompt["meta"])["options"].items():
            for spelling in (label, f"({label})", rf"\boxed{{\text{{{label}}}}}", f"{label}. {text}", text):
                cases.append((prompt, spelling, "ok" if label == prompt["gold"] else "wrong"))

    def explain(prompt: dict, answer: str, expected: str, got: str) -> str | None:
        texts = list(json.loads(prompt["meta"])["options"].values())
        if got == "unparsable" and texts.count(answer) > 1 or len({" ".join(t.split()) for t in texts}) < 4:
            return "ours: two options have this very text"
        if answer.strip(" .").upper() in ("A", "B", "C", "D"):
            return "undecidable: an option's text is the letter of a label; a bare letter is read as the label"
        return None

    for line in rejected:
        print(f"   gold rejected: {line}")
    return compare(cases, explain, "MMLU test, every option in five spellings")


def puzzles() -> int:
    """Golds in several spellings are ok; with one person or cell changed they are wrong."""
    rng, cases = random.Random(0), []
    for prompt in prompts_of("knights_and_knaves", "kk-logic"):
        names = json.loads(prompt["meta"])["people"]
        roles = ["knave" if line.endswith("knave") else "knight" for line in prompt["gold"].splitlines()]
        flipped = list(roles)
        k = rng.randrange(len(names))
        flipped[k] = "knave" if roles[k] == "knight" else "knight"
        cases.append((prompt, prompt["gold"], "ok"))
        for found, status in ((roles, "ok"), (flipped, "wrong")):
            cases.append((prompt, json.dumps(dict(zip(names, found))), status))
            cases.append((prompt, ", ".join(f"{n} is a {r}" for n, r in zip(names, found)), status))
            lists = {r: ", ".join(n for n, x in zip(names, found) if x == r) for r in ("knight", "knave")}
            cases.append((prompt, "\n".join(f"{r.title()}s: {n or 'none'}" for r, n in lists.items()), status))
    wrong = compare(cases, lambda *_: None, "Knights & Knaves, 4,000 golds, spelt and flipped")
    return wrong + _zebra(rng)


def _zebra(rng: random.Random) -> int:
    cases = []
    for prompt in prompts_of("zebra", "zebra-logic/train/puzzle/zebra_logic.json"):
        solution = json.loads(prompt["gold"])
        header, rows = solution["header"], solution["rows"]
        swapped = [list(r) for r in rows]
        column = rng.randrange(1, len(header))
        swapped[0][column], swapped[1][column] = swapped[1][column], swapped[0][column]
        for found, status in ((rows, "ok"), (swapped, "wrong"), (rows[:-1], "wrong")):
            houses = {f"House {r[0]}": dict(zip(header[1:], r[1:])) for r in found}
            table = "\n".join("| " + " | ".join(r) + " |" for r in [header, ["---"] * len(header), *found])
            cases += [(prompt, json.dumps({"header": header, "rows": found}), status), (prompt, table, status)]
            cases.append((prompt, json.dumps(houses), status))

    def explain(prompt: dict, answer: str, expected: str, got: str) -> str | None:
        return (
            "theirs: " + GYM_CLASSES["*", "too long", True][1] if len(answer) > 1000 and got == "unparsable" else None
        )

    return compare(cases, explain, "Zebra, 800 golds, spelt, swapped and cut")


def gym() -> int:
    """DeepSeek-R1's completions of reasoning-gym's tasks: our verdict against the recorded score (1 is right)."""
    tally: collections.Counter = collections.Counter()
    classes: dict[tuple, list] = collections.defaultdict(list)
    not_compared: collections.Counter = collections.Counter()
    prompts, texts, graded = [], [], []
    source = Source(
        name="gym", path=str(DATA / "reasoning-gym-eval-r1" / "easy.tar.gz"), format="reasoning_gym_eval", licence="-"
    )
    for result, raw in read_rows_of(source, ROOT):
        for completion in result["completions"]:
            if raw.problem:
                not_compared[result["task"]] += 1
                continue
            prompts.append({"id": result["task"], "domain": raw.domain, "gold": raw.gold, "meta": json.dumps(raw.meta)})
            texts.append(completion["full_model_response"] or "")
            graded.append(completion)
    for prompt, completion, verdict in zip(prompts, graded, verify_all(prompts, texts)):
        theirs, ours = completion["score"] == 1.0, verdict.status
        tally[ours, theirs] += 1
        if (ours == "ok") != theirs:
            if ours == "unparsable":
                ours = (
                    "two answers"
                    if "differ" in verdict.detail
                    else "too long"
                    if "more than" in verdict.detail
                    else ours
                )
            key = next((k for k in ((prompt["id"], ours, theirs), ("*", ours, theirs)) if k in GYM_CLASSES), None)
            classes[key or ("UNEXPLAINED", prompt["id"], ours, theirs)].append((completion, verdict))
    agreed = sum(n for (ours, theirs), n in tally.items() if (ours == "ok") == theirs)
    print(f"reasoning-gym: {agreed} of {sum(tally.values())} agree ({agreed / sum(tally.values()):.3%})")
    for (ours, theirs), n in sorted(tally.items()):
        print(f"   {n:6}  ours {ours:10}  theirs {'1' if theirs else 'below 1'}")
    for key, rows in sorted(classes.items(), key=str):
        who, why = GYM_CLASSES.get(key, ("?", "UNEXPLAINED"))
        print(f"   {len(rows):5}  {' '.join(map(str, key))}: {who}: {why}")
        for completion, verdict in rows[:2]:
            answer = str(completion["model_answer"])[:90]
            print(f"          {answer!r} score {completion['score']:.3g}; {verdict.detail[:90]}")
    print(f"   not compared, because this release generates other entries for the same seed: {dict(not_compared)}")
    return sum(len(rows) for key, rows in classes.items() if key not in GYM_CLASSES)


def quantities() -> int:
    """The written adversarial pairs (no graded set of quantities is at hand)."""
    folder = ROOT / "tests" / "verification" / "rules_adversarial"
    cases, reasons = [], {}
    for file in sorted(folder.glob("*.jsonl")):
        for i, line in enumerate(file.read_text().splitlines()):
            row = json.loads(line)
            prompt = {
                "id": f"{file.stem}:{i + 1}",
                "domain": row["domain"],
                "gold": row["gold"],
                "meta": json.dumps(row["meta"]),
            }
            reasons[prompt["id"]] = row["reason"]
            cases.append((prompt, row["answer"], row["status"]))
    return compare(cases, lambda *_: None, f"adversarial pairs of {folder.relative_to(ROOT)}")


def ifeval() -> int:
    """Every instruction of the 541 prompts: its kwargs are accepted; a response written to follow it is ok, one written
    to break it is not.
    """
    rows = prompts_of("ifeval", "ifeval-qwq/ifeval.jsonl")
    prompts = [json.loads(row["meta"]) for row in rows]
    problems = [problem for problem in gold_problems(rows) if problem]
    print(f"{len(rows)} prompts, {len(problems)} rejected: {problems}")
    tally: dict[str, list[int]] = {name: [0, 0, 0] for name in instructions.CHECKS}
    for row in prompts:
        for name, kwargs in zip(row["instruction_ids"], row["kwargs"]):
            options = instructions.checked(name, kwargs)
            following, breaking = FOLLOWED[name](**options)
            good, bad = (instructions.follow(text, [name], [options])[0] for text in (following, breaking))
            loose = instructions.follow(f"Sure, here it is:\n{following}", [name], [options], strict=False)[0]
            counts = tally[name]
            counts[0], counts[1] = counts[0] + 1, counts[1] + (good is None and bad is not None and loose is None)
            if good is not None or bad is None or loose is not None:
                print(f"   UNEXPLAINED {name} {options}: {good!r}, {bad!r}, loose {loose!r}")
                counts[2] += 1
    for name, (n, right, _) in tally.items():
        print(f"   {n:4} {right:4}  {name}")
    print(f"   {sum(n for n, _, _ in tally.values())} instructions of {sum(n > 0 for n, _, _ in tally.values())} types")
    _against_ifeval(prompts)
    return len(problems) + sum(wrong for _, _, wrong in tally.values())


def _against_ifeval(prompts: list[dict], responses: int = 40) -> None:
    """Our checks against IFEval's own on real responses (mt-bench references, arena-hard and R1 answers)."""
    try:
        from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    except Exception as error:  # noqa: BLE001 - it downloads at import
        print(f"   not compared with IFEval's own code: {type(error).__name__}: {error}")
        return
    rng, texts = random.Random(0), _responses()
    random.seed(0)  # IFEval's code draws a letter where a row's is `#` or `!`
    asked = {json.dumps([n, k]): (n, k) for row in prompts for n, k in zip(row["instruction_ids"], row["kwargs"])}
    per_type = collections.Counter(name for name, _ in asked.values())
    for wanted in instructions.CHECKS:
        same, ours_only, theirs_only = 0, 0, 0
        for name, kwargs in (pair for pair in asked.values() if pair[0] == wanted):
            peer = INSTRUCTION_DICT[name](name)
            peer.build_description(**kwargs)
            for text in rng.sample(texts, responses if per_type[name] > 9 else 600):
                ours = instructions.follow(text, [name], [instructions.checked(name, kwargs)])[0] is None
                theirs = bool(peer.check_following(text))
                same, ours_only, theirs_only = (
                    same + (ours == theirs),
                    ours_only + (ours > theirs),
                    theirs_only + (theirs > ours),
                )
        print(f"   {wanted:48} same {same:6}  only ours {ours_only:4}  only IFEval's {theirs_only:4}")


def _responses() -> list[str]:
    out = []
    for file in sorted((DATA / "arena-hard").glob("*/model_answer/*.jsonl")):
        for line in file.open():
            for message in json.loads(line).get("messages", []):
                if message.get("role") == "assistant":
                    content = message["content"]
                    out.append(content if isinstance(content, str) else content.get("answer") or "")
    shapes = (str.upper, str.lower, '"{}"'.format, "<<Title>>\n{}\n\nP.S. Bye".format, "* {}\n* more".format)
    out = [text for text in out if text.strip()]
    return out + [shape(text) for shape in shapes for text in out[:200]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
