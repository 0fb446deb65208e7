"""The licence under which an artifact is published: chosen by a person, held to what its sources allow."""

from tasks.provenance.artifacts import ArtifactError
from tasks.provenance.audit.licences import NOTICE, RELEASES, known

HUB = {  # SPDX name -> the Hub's own word for it, where that is not just lower case
    "BSD-2-Clause": "bsd-2-clause", "BSD-3-Clause": "bsd-3-clause", "ODbL-1.0": "odbl", "ODC-By-1.0": "odc-by",
    "GPL-2.0-only": "gpl-2.0", "GPL-3.0-only": "gpl-3.0", "GPL-3.0-or-later": "gpl-3.0", "Llama-3.1": "llama3.1",
    "Llama-3.2": "llama3.2", "Llama-3.3": "llama3.3", "PDDL-1.0": "pddl",
}  # fmt: skip
SAME = {  # words the Hub has in lower case: huggingface.co/docs/hub/repositories-licenses
    "mit", "apache-2.0", "isc", "unlicense", "zlib", "0bsd", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "gpl-2.0", "gpl-3.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
}  # fmt: skip


WAIVERS = {"CC0-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT-0"}  # keep no notice of anybody
ORIGINS = {"generated", "repository", "public-domain"}  # what a source may be, and no licence to release under


def chosen(name: str | None, releases: tuple[str, ...], where: str, asks_nothing: bool = False) -> str | None:
    """`name` in SPDX's spelling, where the sources of `where` allow a release under it; None of None.

    `releases`, `asks_nothing`: as in `Facts`. ArtifactError names the licences that are open.
    """
    if name is None:
        return None
    licence = known(name)
    if licence is None or licence.name in ORIGINS:
        raise ArtifactError(
            f"licence {name!r} is none that is known; give an SPDX name, e.g. Apache-2.0 or CC-BY-SA-4.0"
        )
    as_release = {licence.name, f"{licence.name}-only"} & set(RELEASES)
    if licence.name.startswith("Llama-"):
        as_release = {"Llama Community License"}
    if not as_release:  # MIT, Apache-2.0, CC BY: each asks for no more than its notice
        as_release = {NOTICE} & licence.releases
    if licence.name in WAIVERS and releases and not asks_nothing:
        raise ArtifactError(
            f"{where} cannot be released under {licence.name}, which drops the notices that its sources ask for; take one "
            "that keeps them, e.g. MIT or CC-BY-4.0"
        )
    if not as_release & set(releases):
        names = ", ".join(releases) or "none"
        raise ArtifactError(
            f"{where} cannot be released under {licence.name}: its sources allow {names}; `r1 audit --only licences` lists them"
        )
    return licence.name


def metadata(name: str | None) -> dict[str, str]:
    """`license` (and `license_name`) of a card's YAML."""
    if name is None:
        return {"license": "other", "license_name": "none-chosen"}
    word = HUB.get(name) or (name.lower() if name.lower() in SAME else None)
    return {"license": word} if word else {"license": "other", "license_name": name.lower()}
