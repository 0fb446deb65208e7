"""How a code prompt asks for its program: in the prompt itself, as public sets do, in one fenced block."""

LANGUAGES = {"python": "Python", "cpp": "C++"}


def stdin_program(problem: str, language: str = "python") -> str:
    """The prompt for a program that is tested through its standard input and output."""
    return (
        f"{problem.strip()}\n\nWrite a {LANGUAGES[language]} program that reads from standard input and writes to "
        f"standard output. Reply with the whole program in one ```{language} block."
    )


def function(problem: str, name: str, example: str | None = None) -> str:
    """The prompt for a Python function that hidden tests call; `example` shows how, as MBPP's own prompt does."""
    shown = f"; for example:\n\n```python\n{example.strip()}\n```\n\n" if example else ". "
    return (
        f"{problem.strip()}\n\nHidden tests call your Python function `{name}`{shown}"
        "Reply with all the code that it needs, imports included, in one ```python block."
    )


def fenced(program: str, language: str = "python") -> str:
    """A program as the response that hands it in."""
    return f"```{language}\n{program.rstrip()}\n```"
