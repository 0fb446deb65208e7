"""An exported folder to a repository of the Hub, or of a server that speaks its API (HF_ENDPOINT): one commit, private unless said.

The token is huggingface_hub's own: HF_TOKEN, or what `hf auth login` stored. The export that is there is replaced as a whole:
what its lineage.json lists and this one has not is deleted. Files that no export wrote (.gitattributes, a licence text) stay.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tasks.provenance.artifacts import ArtifactError
from tasks.publishing.export import LINEAGE

_NAME = re.compile(r"[\w.\-]+/[\w.\-]+")


class Refused(ArtifactError):
    """It must not be published, or not to where it was meant to go; nothing was sent."""


def check(repo: str, public: bool, licence: str | None, problems: Sequence[str]) -> None:
    """Refused, with every reason, where this must not be pushed. Asks no server."""
    reasons = list(problems)
    if not _NAME.fullmatch(repo):
        reasons.append(f"{repo!r} is no name of a repository: give OWNER/NAME")
    if public and licence is None:
        reasons.append("what is public needs a licence: choose one with --licence, or push it private")
    if reasons:
        raise Refused(f"{repo}: nothing was pushed.\n" + "\n".join(f"- {reason}" for reason in reasons))


def push(folder: Path, repo: str, kind: str, public: bool, message: str, endpoint: str | None = None) -> dict[str, str]:
    """Send the folder as one commit; returns `url`, `commit` and `visibility`.

    `kind`: "dataset" or "model". Makes the repository where there is none, private unless `public`. Refused where an
    existing one is public and `public` was not said: private is never made public by an upload.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    if not (folder / LINEAGE).is_file():
        raise Refused(f"{folder} is no export: it has no {LINEAGE}")
    api = HfApi(endpoint=endpoint)
    try:
        try:
            private = bool(api.repo_info(repo, repo_type=kind).private)
            gone = _left_over(api, repo, kind, folder)
        except RepositoryNotFoundError:
            private, gone = not public, []
            api.create_repo(repo, repo_type=kind, private=private)
        if not private and not public:
            raise Refused(
                f"{repo} is public at {api.endpoint}: say --public if that is meant, or make it private there first"
            )
        done = api.upload_folder(
            repo_id=repo, repo_type=kind, folder_path=folder, commit_message=message, delete_patterns=gone or None
        )
    except OfflineModeIsEnabled:
        raise ArtifactError(
            "HF_HUB_OFFLINE is set: nothing was pushed; unset it, or copy the folder yourself"
        ) from None
    except HfHubHTTPError as error:
        raise ArtifactError(_told(error, repo, api.endpoint)) from None
    except (httpx.HTTPError, OSError) as error:
        raise ArtifactError(
            f"{api.endpoint} cannot be reached ({error}); {folder} stands, push it again later"
        ) from None
    return {"url": str(done.repo_url), "commit": done.oid, "visibility": "private" if private else "public"}


def _left_over(api, repo: str, kind: str, folder: Path) -> list[str]:
    """Files of the export that is there which the new one does not have."""
    from huggingface_hub.errors import EntryNotFoundError

    with tempfile.TemporaryDirectory() as place:
        try:
            there = Path(api.hf_hub_download(repo, LINEAGE, repo_type=kind, local_dir=place))
            listed = json.loads(there.read_text(encoding="utf-8"))["files"]
        except (EntryNotFoundError, ValueError, KeyError):
            return []  # nothing of ours, or not to be read: nothing is deleted
    return sorted(name for name in listed if not (folder / name).exists())


def _told(error, repo: str, endpoint: str) -> str:
    status = error.response.status_code if error.response is not None else None
    remedy = {
        401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
        403: "the token may not write there: take one with write access to it, or another OWNER",
    }.get(status, "push it again; the folder stands")
    said = str(getattr(error, "server_message", "") or error).strip().splitlines()
    return f"{repo}: {endpoint} refused it ({status}: {said[0] if said else 'no reason given'}); {remedy}"
