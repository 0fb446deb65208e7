"""Licences: what an adaptation of material under each may be released under, and so which go together.

Each licence names the licences that an adaptation of its material may carry. Sources go together where at least one
release licence is open to all of them; that is the rule of Creative Commons' own chart. Read strictly: a training set,
and a checkpoint trained on it, count as adaptations that are shared. Whether they are is not settled law, and this
table is no legal advice.

Sources: creativecommons.org/faq, "If I derive or adapt material …, which license(s) can I use?" (the chart; ND allows no
shared adaptation; since version 2.0 SA may move to a later version of itself); creativecommons.org/compatiblelicenses
(BY-SA 4.0 one way to GPLv3); gnu.org/licenses/license-list.html (Apache-2.0 not with GPLv2, GPLv2-only not with GPLv3,
CC BY 4.0 with either); opendatacommons.org/licenses (ODbL 4.4: share-alike; ODC-By: attribution); cdla.dev;
llama.com/llama3_1/license and llama3_2/license (1.b: derived models carry the agreement and the name Llama).
"""

import re
from dataclasses import dataclass

NOTICE = "attribution or notice"  # MIT, Apache-2.0, CC BY and their like: anything, with the notices kept
RELEASES = (
    NOTICE, "CC-BY-SA-4.0", "GPL-2.0-only", "GPL-3.0-only", "ODbL-1.0", "CDLA-Sharing-1.0", "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0", "Llama Community License",
)  # fmt: skip
ANY = frozenset(RELEASES)
NON_COMMERCIAL = frozenset({"CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"})


@dataclass(frozen=True)
class Licence:
    """Under what an adaptation may be released; `asks` is what whoever releases it must heed."""

    name: str
    releases: frozenset[str]
    asks: str


def _all(names: str, releases: frozenset[str], asks: str) -> dict[str, Licence]:
    return {_key(name): Licence(name, releases, asks) for name in names.split()}


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


KNOWN = {
    **_all("generated repository CC0-1.0 PDDL-1.0 Unlicense public-domain", ANY, "nothing"),
    **_all("MIT BSD-2-Clause BSD-3-Clause ISC Zlib MIT-0 0BSD", ANY, "the notice"),
    **_all("Apache-2.0", ANY - {"GPL-2.0-only"}, "the notice and a statement of changes; a patent clause that GPLv2 does not allow"),
    **_all("CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 ODC-By-1.0 ODC-By CDLA-Permissive-1.0 CDLA-Permissive-2.0", ANY, "attribution"),
    **_all("CC-BY-SA-2.0 CC-BY-SA-2.5 CC-BY-SA-3.0", frozenset({"CC-BY-SA-4.0"}), "attribution, and the same licence or a later version of it"),
    **_all("CC-BY-SA-4.0", frozenset({"CC-BY-SA-4.0", "GPL-3.0-only"}), "attribution, and the same licence (or GPLv3, one way)"),
    **_all("CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0", NON_COMMERCIAL, "attribution, no commercial use"),
    **_all("CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0", frozenset({"CC-BY-NC-SA-4.0"}), "attribution, no commercial use, the same licence"),
    **_all("CC-BY-ND-3.0 CC-BY-ND-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0", frozenset(), "adaptations may not be shared at all"),
    **_all("GPL-2.0-only GPL-2.0", frozenset({"GPL-2.0-only"}), "the same licence, version 2 alone"),
    **_all("GPL-2.0-or-later GPL-2.0+", frozenset({"GPL-2.0-only", "GPL-3.0-only"}), "the same licence or a later version"),
    **_all("GPL-3.0-only GPL-3.0 GPL-3.0-or-later GPL-3.0+", frozenset({"GPL-3.0-only"}), "the same licence"),
    **_all("ODbL-1.0", frozenset({"ODbL-1.0"}), "the same licence for a database"),
    **_all("CDLA-Sharing-1.0", frozenset({"CDLA-Sharing-1.0"}), "the same licence for data"),
    **_all("Llama-3 Llama-3.1 Llama-3.2 Llama-3.3", frozenset({"Llama Community License"}), "the agreement, the name Llama, and its acceptable use"),
}  # fmt: skip


def known(name: str) -> Licence | None:
    """A licence by its SPDX name, whatever its case, or an expression with AND and OR (no brackets); None where any part is unknown."""
    either = [part for part in re.split(r"\s+OR\s+", name) if part.strip()]
    if len(either) > 1:
        return _joined(name, either, frozenset.union, "either of both")
    both = [part for part in re.split(r"\s+AND\s+", name) if part.strip()]
    if len(both) > 1:
        return _joined(name, both, frozenset.intersection, "both of them")
    return KNOWN.get(_key(name))


def _joined(name: str, parts: list[str], join, asks: str) -> Licence | None:
    found = [known(part) for part in parts]
    return None if None in found else Licence(name, join(*(licence.releases for licence in found)), asks)


@dataclass(frozen=True)
class Together:
    """What becomes of several licences in one set."""

    releases: tuple[
        str, ...
    ]  # under which the whole may be released, most liberal first; none: they do not go together
    unknown: tuple[str, ...]
    clashing: tuple[tuple[str, str], ...]  # pairs without a common release licence; (a, a): allows none by itself


def together(names: list[str]) -> Together:
    """The release licences open to material under all of these licences."""
    found = {name: known(name) for name in sorted(set(names))}
    read = [licence for licence in found.values() if licence]
    open_to_all = frozenset.intersection(ANY, *(licence.releases for licence in read))
    clashing = [
        (a.name, b.name) for i, a in enumerate(read) for b in read[i:] if not a.releases & b.releases
    ]  # fmt: skip
    return Together(
        tuple(r for r in RELEASES if r in open_to_all),
        tuple(name for name, licence in found.items() if licence is None),
        tuple(clashing),
    )
