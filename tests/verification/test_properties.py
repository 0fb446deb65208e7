"""Properties of the maths verifier: a gold is right, presentation means nothing, the last answer counts."""

from fractions import Fraction

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tasks.verification import maths
from tasks.verification.maths_normalise import normalise

quick = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))

integers = st.integers(-(10**9), 10**9).map(str)
small = st.integers(1, 99)
decimals = st.decimals(-1000, 1000, places=3, allow_nan=False).map(str)
fractions = st.builds(r"\frac{{{}}}{{{}}}".format, st.integers(-99, 99), small)
mixed = st.builds(r"{}\frac{{{}}}{{{}}}".format, small, st.integers(1, 8), st.just(9))
radicals = st.builds(r"{}\sqrt{{{}}}".format, small, st.integers(2, 99))
multiples = st.builds(r"{}\pi".format, small)
powers = st.builds("{}^{{{}}}".format, st.integers(2, 9), st.integers(2, 30))
percents = st.builds(r"{}\%".format, small)
money = st.builds(r"\${:.2f}".format, st.floats(1, 999))
measures = st.builds(r"{} \text{{ {}}}".format, small, st.sampled_from(["cm", "miles", "hours", "kg", "apples", "m"]))
degrees = st.builds(r"{}^\circ".format, st.integers(1, 359))
polynomials = st.builds("{}x^2+{}x-{}".format, small, small, small)
complexes = st.builds("{}+{}i".format, small, small)
bases = st.builds("{}_{}".format, st.integers(10, 77).filter(lambda n: not {"8", "9"} & set(str(n))), st.integers(8, 9))
numbers = st.one_of(integers, fractions, radicals, multiples)
tuples = st.lists(numbers, min_size=2, max_size=4).map(lambda x: f"({', '.join(x)})")
sets = st.lists(numbers, min_size=2, max_size=4, unique_by=normalise).map(lambda x: rf"\{{{', '.join(x)}\}}")
lists = st.lists(numbers, min_size=2, max_size=4).map(", ".join)
intervals = st.builds(
    lambda a, b, left, right: f"{left}{a},{b}{right}",
    st.integers(-99, 0),
    small,
    st.sampled_from("[("),
    st.sampled_from("])"),
)
unions = st.builds(r"{} \cup {}".format, intervals, intervals)
assignments = st.builds("x = {}".format, numbers)
lines = st.builds("y = {}x + {}".format, small, small)
inequalities = st.builds(r"{} < x \le {}".format, st.integers(-99, 0), small)
matrices = st.builds(
    r"\begin{{pmatrix}} {} & {} \\ {} & {} \end{{pmatrix}}".format, integers, fractions, radicals, small
)
ratios = st.builds("{}:{}".format, small, st.integers(100, 999))
words = st.sampled_from(
    [r"\text{Evelyn}", "Tuesday", "yes", r"\text{(C)}", "no solution", "ellipse", "March 5, 2020", "3:30 PM"]
)
golds = st.one_of(
    integers, decimals, fractions, mixed, radicals, multiples, powers, percents, money, measures, degrees, polynomials,
    complexes, bases, tuples, sets, lists, intervals, unions, assignments, lines, inequalities, matrices, ratios, words,
)  # fmt: skip


def status(gold: str, text: str) -> str:
    _, decision, job = maths.start({"id": "p", "gold": gold}, text)
    return (decision or maths.work(job))[0]


def answered(answer: str) -> str:
    return f"<think> . </think> <answer>{answer}</answer>"


@settings(quick, max_examples=300)
@given(golds)
def test_a_gold_is_right_and_usable(gold):
    assert status(gold, answered(gold)) == "ok"
    assert maths.work({"kind": "maths", "gold": gold, "answer": gold})[0] == "ok"  # without the fast path
    problem, job = maths.gold_problem({"gold": gold})
    assert problem is None and (job is None or maths.work(job) == {"problem": None})


DRESSINGS = (
    "${}$", r"\({}\)", r"\[ {} \]", r"\boxed{{{}}}", " {}  ", "{}.", "{{{}}}", r"\displaystyle {}", "**{}**", "The answer is {}",
    "\n{}\n", r"{}\,",
)  # fmt: skip


@settings(quick, max_examples=150)
@given(golds, st.sampled_from(DRESSINGS))
def test_dressing_means_nothing(gold, dressing):
    assume(not (gold.startswith(r"\$") and "$" in dressing))
    assert status(gold, answered(dressing.format(gold))) == "ok"


@settings(quick, max_examples=150)
@given(golds)
def test_notation_means_nothing(gold):
    other = gold.replace(r"\frac", r"\dfrac").replace("-", "\u2212").replace(" ", "  ").replace("(", r"\left(")
    other = other.replace(")", r"\right)").replace(r"\le ", r"\leq ").replace(r"\pi", "π").replace(r"^\circ", "°")
    assume(r"\text" not in gold and ":" not in gold)
    assert status(gold, answered(other)) == "ok"


@quick
@given(st.fractions(min_value=-50, max_value=50, max_denominator=60), st.fractions(-50, 50, max_denominator=60))
def test_rationals_agree_exactly_when_they_are_equal(a, b):
    forms = [
        str(b),
        rf"\frac{{{b.numerator}}}{{{b.denominator}}}",
        rf"\frac{{{3 * b.numerator}}}{{{3 * b.denominator}}}",
    ]
    for form in forms:
        assert (status(str(a), answered(form)) == "ok") is (a == b)
    assert status(str(a), answered(f"{float(a):.12f}")) == "ok"
    assert status(str(a), answered(str(a + Fraction(1, 1000)))) == "wrong"


@quick
@given(golds, integers)
def test_a_wrong_answer_after_a_right_one_is_wrong(gold, other):
    assume(status(gold, answered(other)) != "ok")
    assert (
        status(gold, f"<think> It is \\boxed{{{gold}}}, so <answer>{gold}</answer> </think> {answered(other)[20:]}")
        != "ok"
    )
    assert status(gold, f"\\boxed{{{gold}}} but on second thoughts \\boxed{{{other}}}") != "ok"
    assert status(gold, f"<answer>{gold}</answer> no: <answer>{other}</answer>") != "ok"
    assert status(gold, f"<answer>{other}</answer>, and {gold}") != "ok"


@quick
@given(st.lists(integers, min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_sets_have_no_order_and_tuples_have_one(items, rng):
    mixed_up = list(items)
    rng.shuffle(mixed_up)
    assert status(rf"\{{{','.join(items)}\}}", answered(rf"\{{{', '.join(mixed_up)}\}}")) == "ok"
    assert status(", ".join(items), answered(" and ".join(mixed_up))) == "ok"
    assert (status(f"({','.join(items)})", answered(f"({','.join(mixed_up)})")) == "ok") is (items == mixed_up)


@quick
@given(st.text(max_size=60), st.sampled_from(["7", r"\frac{1}{2}", "(1,2)", r"\text{east}"]))
def test_any_text_gets_a_verdict(text, gold):
    assert status(gold, text) in ("ok", "wrong", "unparsable")
    assert normalise(normalise(text.strip())) is not None


@quick
@given(st.text(alphabet=r"0123456789abxyi\frac{}()[]^_+-*/=<>,.;:!|%$ sqrtpie", max_size=24))
def test_any_answer_gets_a_verdict_and_equals_itself_or_nothing(answer):
    assume(not any(runaway in answer for runaway in ("^", "!")) and "<" not in answer)
    assert status(r"\frac{355}{113}", answered(answer)) in ("ok", "wrong", "unparsable")
