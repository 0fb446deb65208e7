"""The program in a response, by a written rule.

1. Only the summary counts: what follows the last `</think>`. A think block that never closes has no summary.
2. A fenced block opens with a line of three or more backticks or tildes (indented or not) and the tag of its language,
   and closes with a line of at least as many of the same and nothing else. A block that never closes is cut off: no
   block.
3. The last block tagged with the prompt's language is the program; without one, the last block without a tag. Blocks
   tagged otherwise (`text`, `bash`, another language) are never the program, and neither is text outside a block.
"""

import re
import textwrap

MAX_CHARS = 1 << 20  # a longer "program" is none
TAGS = {
    "python": frozenset({"python", "py", "python3", "py3", "python2"}),
    "cpp": frozenset({"cpp", "c++", "cc", "cxx", "c++17", "c++20", "cpp17", "cpp20"}),
}
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^\s`]*)([^\n`]*)$")


class NoProgram(Exception):
    """The response holds no program; the message says why."""


def program(text: str, language: str) -> str:
    """The program of a response in this language; raises NoProgram."""
    summary = text.rpartition("</think>")[2]
    if "<think>" in summary:
        raise NoProgram("the think block never closes")
    blocks = fenced(summary)
    tagged = [body for tag, body in blocks if tag in TAGS[language]]
    bare = [body for tag, body in blocks if not tag]
    if not tagged and not bare:
        others = sorted({tag for tag, _ in blocks})
        what = f"only blocks tagged {', '.join(others)[:100]}" if others else "no closed code block"
        raise NoProgram(f"{what} after the think block")
    found = (tagged or bare)[-1]
    if not found.strip():
        raise NoProgram("the code block is empty")
    if len(found) > MAX_CHARS:
        raise NoProgram(f"the code block has {len(found)} characters, more than {MAX_CHARS}")
    return found


def fenced(text: str) -> list[tuple[str, str]]:
    """(tag in lower case, content) of every closed fenced block, in order."""
    out, fence, tag, lines = [], "", "", []
    for line in text.splitlines():
        match = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if not fence:
            if match:
                fence, tag, lines = match[1], match[2].lower().strip("{}."), []
        elif match and match[1].startswith(fence) and not match[2] and not match[3].strip():
            body = "\n".join(lines) + "\n"
            out.append((tag, textwrap.dedent(body) if lines and lines[0][:1] in " \t" else body))
            fence = ""
        else:
            lines.append(line)
    return out
