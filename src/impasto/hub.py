"""Models on the Hugging Face Hub. Needs ``impasto[hub]``.

A repository holds the files of a model folder. What comes from there is read as any other folder is: tensors by
safetensors, and graphs only if they are those that the card was written for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from impasto import __version__
from impasto.errors import ImpastoError, first_line
from impasto.extras import explain_missing

with explain_missing(__name__):
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

if TYPE_CHECKING:
    from impasto.model import Model

#: What the address of a model there begins with.
SCHEME = "hf://"
#: The files of a model folder; others in a repository are left where they are.
FILES = (
    "card.json", "content.onnx", "weights.safetensors", "style.onnx", "gallery.safetensors", "content-int8.xml",
    "content-int8.bin", "fit.onnx", "judge.onnx", "judge.safetensors", "fit.webp",
)  # fmt: skip


def _api() -> HfApi:
    return HfApi(library_name="impasto", library_version=__version__)


def download_model(address: str) -> Path:
    """Fetches a model into the cache of huggingface_hub, unless it is there; gives its folder.

    Without a network, what is in the cache will do.

    Args:
        address: ``hf://owner/name``, or ``hf://owner/name@revision`` for a branch, a tag or a commit.

    Raises:
        ImpastoError: there is no such repository or revision, it holds no model, or the Hub cannot be reached.
    """
    found = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@(.+))?", address)
    if found is None:
        raise ImpastoError(f"{address} is no model on the Hub: write hf://owner/name or hf://owner/name@revision")
    repository, revision = found.groups()
    with _explain(repository, "is there", revision):
        folder = Path(_api().snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    if not (folder / "card.json").is_file():
        raise ImpastoError(f"{address} holds no model of impasto: there is no card.json in it")
    return folder


def upload_model(model: Model, repository: str, *, private: bool = False) -> str:
    """Uploads a model, in one commit; see :meth:`impasto.model.Model.push`."""
    model.check()
    api = _api()
    adds = [CommitOperationAdd(name, str(model.folder / name)) for name in FILES if (model.folder / name).is_file()]
    with _explain(repository, "may be written to by you"):
        api.create_repo(repository, private=private, exist_ok=True)
        if not api.file_exists(repository, "README.md"):  # one that somebody wrote stays
            adds.append(CommitOperationAdd("README.md", _describe(model, repository).encode()))
        commit = api.create_commit(repository, adds, commit_message=f"{model.name}, fingerprint {model.fingerprint}")
    return f"{SCHEME}{repository}@{commit.oid}"


def _describe(model: Model, repository: str) -> str:
    """The README of a repository, with what the Hub reads of it."""
    card = model.card
    return f"""---
library_name: impasto
pipeline_tag: image-to-image
tags: [style-transfer, adain]
---

# {model.name}

{card.description or "A model of impasto."}

```python
import impasto
model = impasto.load("{SCHEME}{repository}")
```

Licence of the weights: {card.licence or "not told"}. How it was trained is in `card.json`.
"""


@contextlib.contextmanager
def _explain(repository: str, doubt: str, revision: str | None = None) -> Iterator[None]:
    """Makes a line of what the Hub or the way there says."""
    try:
        yield
    except RevisionNotFoundError:
        raise ImpastoError(
            f"{repository} on the Hub has no revision {revision}: leave it out, or name another"
        ) from None
    except HFValidationError as error:
        raise ImpastoError(f"{repository} is no name of a repository: {first_line(error)}") from None
    except RepositoryNotFoundError:
        raise ImpastoError(
            f"no model {repository} on the Hub that {doubt}: see whether the name is right; if it is private, "
            "log in with `hf auth login`"
        ) from None
    except LocalEntryNotFoundError:
        raise ImpastoError(
            f"the Hub cannot be reached and {repository} is not in the cache: look at the network, and try again"
        ) from None
    except HfHubHTTPError as error:
        raise ImpastoError(f"the Hub refuses {repository}: {first_line(error)}") from None
    except Exception as error:  # those of its HTTP client, which is another from version to version
        raise ImpastoError(f"the Hub cannot be reached for {repository}: {first_line(error)}") from None
