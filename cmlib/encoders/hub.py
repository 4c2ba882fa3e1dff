"""A BERT of the Hugging Face hub or of a folder: one commit, every file checked by its hash, no code of the
model's own run.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch

from cmlib.data.files import disk_is_full, sha256

# Top-level files only, and of all formats of weights the one that cannot carry code.
WANTED, WEIGHTS = ("*.json", "*.txt", "*.model"), ("model.safetensors", "model-*-of-*.safetensors")


def snapshot(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of the hub's cache with the files of one commit, whose hash is the folder's name.

    revision : a branch, a tag or a full commit hash; None is "main". A commit that is whole in the cache
        needs no network.
    What was fetched is compared with the hash that the hub announced (SHA-256, or git's SHA-1 of a small
    file), each time: the cache keeps it as the name that a link points to (so on a disk without links only
    the sizes are compared).
    Raises ValueError (no such model or revision, wrong hash), PermissionError (gated), ConnectionError
    (offline, torn), OSError.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, ignore_patterns=["*/*"],
                                        allow_patterns=[*WANTED, *(WEIGHTS if weights else ())]))
    except Exception as error:  # its own, httpx's and the system's: said once
        raise _fetch_error(name, revision, error) from None
    for file in folder.iterdir():
        if file.is_symlink():
            _verify(name, file)
    return folder


def _verify(name: str, file: Path) -> None:
    # one step only: behind it may be a store that all models share, with names of its own
    link = os.readlink(file)
    expected = Path(link).name
    if re.fullmatch("[0-9a-f]{64}", expected):
        found = sha256(file)
    elif re.fullmatch("[0-9a-f]{40}", expected):
        content = file.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    else:
        return
    if found != expected:
        for damaged in (file.resolve(), file.parent / link, file):
            damaged.unlink(missing_ok=True)
        raise ValueError(
            f"{file.name} of the model {name!r} has the hash {found[:12]}… and the hub "
            f"announced {expected[:12]}…: it "
            "was damaged or changed on its way and is deleted here; call again to fetch it anew."
        )


def _fetch_error(name: str, revision: str | None, error: Exception) -> Exception:
    from huggingface_hub import constants, errors

    at = f" at revision {revision!r}" if revision else ""
    if disk_is_full(error):
        return OSError(f"The disk is full: free some space for the model {name!r}, or set HF_HOME to a "
                       "folder on another disk.")
    if isinstance(error, PermissionError):
        return PermissionError(f"The cache folder {constants.HF_HUB_CACHE} cannot be written: set HF_HOME to "
                               "one that can.")
    if isinstance(error, errors.HFValidationError):
        return ValueError(f"{name!r} is neither a folder on this computer nor a name on the hub, such as "
                          "'bert-base-uncased' or 'group/model'.")
    if isinstance(error, errors.GatedRepoError):
        return PermissionError(f"The model {name!r} is gated: accept its terms on its page, then log in with "
                               "`hf auth login`.")
    if isinstance(error, errors.RevisionNotFoundError):
        return ValueError(f"The model {name!r} has no revision {revision!r}: give one of its branches or "
                          "tags, a full commit hash, or leave revision out for 'main'.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(f"The hub has no public model {name!r}: check its spelling, or log in with `hf "
                          "auth login` if it is private.")
    said = next(
        (e.response.status_code for e in (error, error.__cause__) if isinstance(e, errors.HfHubHTTPError)),
        None,
    )
    if said in (401, 403):
        return PermissionError(f"The hub refused access to the model {name!r} ({said}): log in again with "
                               "`hf auth login`.")
    if isinstance(error, errors.LocalEntryNotFoundError):
        why = "the hub cannot be reached" if said is None else f"the hub answered {said}"
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why
        return ConnectionError(f"The model {name!r}{at} is not (or not wholly) on this computer and {why}: "
                               "connect once to fetch it, or use 'mini', which is shipped with the course.")
    return ConnectionError(f"The model {name!r}{at} could not be fetched whole, because the link broke "
                           f"({type(error).__name__}): call again; no torn file is kept.")


def load_pretrained(name: str, revision: str | None = None, pretrained: bool = True):
    """(model in float32, its tokenizer, commit hash or None) of a hub name or of a folder as
    ``save_pretrained`` writes it.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    local = Path(name).is_dir()
    if local and revision is not None:
        raise ValueError(f"The folder {name} has no revisions: leave out revision={revision!r}.")
    what = f"The folder {name}" if local else f"The model {name!r}"
    folder = Path(name) if local else snapshot(name, revision, pretrained)
    commit = None if local else folder.name
    weights = [file for form in WEIGHTS for file in folder.glob(form)]
    if pretrained and not weights and (folder / "config.json").is_file():
        raise ValueError(f"{what} has no model.safetensors: it was copied or fetched in part, or has its "
                         "weights only in a format "
                         "that can run code when it is read, which the course refuses.")
    loud, missing = logging.get_verbosity(), []
    logging.set_verbosity_error()  # its table of tensors that do not fit; what matters of it is said below
    # False, since the default asks a person and waits
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        if pretrained:
            model, report = AutoModel.from_pretrained(
                folder, **safe, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
            # never used here
            missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
        else:
            model = AutoModel.from_config(AutoConfig.from_pretrained(folder, **safe), trust_remote_code=False,
                                          dtype=torch.float32)
    except MemoryError:
        raise
    except Exception as error:
        raise _load_error(what, local, error) from None
    finally:
        logging.set_verbosity(loud)
    _expect_fit(what, model.config, tokenizer)
    if missing:  # transformers would go on with random numbers in their place
        raise ValueError(f"The weights of {name!r} belong to another architecture than its config.json: they "
                         f"have no tensor {missing[0]!r}.")
    return model, tokenizer, commit


def _load_error(what: str, local: bool, error: Exception) -> Exception:
    said = " ".join(str(error).split())
    if "ignore_mismatched_sizes" in said:
        return ValueError(f"{what} has weights of another architecture than its config.json: their shapes "
                          "differ.")
    if "trust_remote_code" in said:
        return ValueError(f"{what} asks to run code of its own, which the course never does: choose one "
                          "whose architecture is part of transformers.")
    if isinstance(error, ImportError):
        return ImportError(f"{what} needs a package that is not installed here: {said[:200]}")
    if local:
        return ValueError(f"{what} does not hold a whole model and its tokenizer, as save_pretrained writes "
                          "them: copy or save it again.")
    return ValueError(f"{what} cannot be read as a text model with its tokenizer ({type(error).__name__}): "
                      "choose another.")


def _expect_fit(what: str, config, tokenizer) -> None:
    """Refuse what would fail later, or never: transformers makes up a tokenizer of five tokens where its
    files are missing.
    """
    rows, ids = getattr(config, "vocab_size", None), tokenizer.get_vocab().values()
    if (
        config.is_encoder_decoder
        or not isinstance(rows, int)
        or not isinstance(getattr(config, "hidden_size", None), int)
    ):
        raise ValueError(f"{what} is a {config.model_type} and not one stack of text layers: choose an "
                         "encoder like BERT.")
    if max(ids, default=0) >= rows or len(ids) < rows / 2:
        raise ValueError(f"{what} has a tokenizer of {len(ids)} tokens for a model with {rows} of them: it "
                         "belongs to another model, "
                         "or its files are missing; put there the tokenizer that the model was trained with.")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{what} has a tokenizer without a padding token, so rows of a batch cannot be "
                         "filled up: choose an encoder like BERT.")
