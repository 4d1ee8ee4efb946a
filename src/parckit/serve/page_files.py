"""The static page of a bundle: one folder, which any web server can serve."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from parckit.contract import Artefact, Contract, InputError, read_contract, replacing, write_contract
from parckit.processing import class_colours, find_format, open_picture
from parckit.serve.page_engine import VERSION, unpack_package

PAGE_FILE = "page.json"
"""What the page needs beside the contract: colours, examples, and the version of ONNX Runtime Web."""
_STATIC = Path(__file__).parent / "page"
_FORMAT = "onnx"
_BROWSER_FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "AVIF": ".avif"}
"""Formats that browsers show. Pictures of other formats, such as TIFF, become PNG."""
_MOST_EXAMPLES = 30
"""Examples stand in one strip, which a finger can still move through."""


def write_page(
    bundle: Path, out: Path, *, package: Path, artefact: str | None = None, examples: Sequence[Path] = ()
) -> Contract:
    """Write the page of a bundle. The folder is at the same time a bundle with the artefact that the page runs.

    Args:
        bundle: the bundle.
        out: folder of the page; a page that is already there is replaced only on success.
        package: onnxruntime-web, checked.
        artefact: name of the artefact that the page runs; by default the first fp32 one of raw maps.
        examples: pictures that the page offers.

    Returns:
        The contract that the page reads.

    Raises:
        InputError: if `bundle` is no bundle, its artefact cannot run in a browser, an example cannot be read, or `out`
            has files that are not of a page.
    """
    contract = _contract_of_page(read_contract(bundle), name=artefact)
    if len(examples) > _MOST_EXAMPLES:
        raise InputError(f"--examples: {len(examples)} pictures; at most {_MOST_EXAMPLES}")
    out = out.resolve() if out.is_symlink() else out
    _refuse_foreign(out)
    with replacing(out) as folder:
        shutil.copytree(_STATIC, folder)
        for file in contract.artefacts[0].files:
            (folder / file).parent.mkdir(parents=True)
            shutil.copyfile(bundle / file, folder / file)
        write_contract(contract, folder)
        unpack_package(package, folder / "ort")
        facts = {
            "onnxruntime_web": VERSION,
            "colours": class_colours(),
            "examples": [_add_example(path, folder, number=number) for number, path in enumerate(examples, 1)],
        }
        (folder / PAGE_FILE).write_text(json.dumps({**facts, "files": _files_of(folder)}), encoding="utf-8")
    return contract


def _contract_of_page(contract: Contract, *, name: str | None) -> Contract:
    """Return a contract with the artefact that the page runs as its only one.

    Raises:
        InputError: if there is none, or the page cannot run it.
    """
    artefact = _choose(contract) if name is None else contract.artefact(name)
    if artefact.format != _FORMAT:
        raise InputError(f"artefact={artefact.name!r}: is of format {artefact.format}; the page runs {_FORMAT}")
    if artefact.input.batch_size not in (1, None):
        takes = f"takes {artefact.input.batch_size} images at once; the page has one"
        raise InputError(f"artefact={artefact.name!r}: {takes}: export with --batch_size 1")
    if len(artefact.files) > 1:
        raise InputError(f"artefact={artefact.name!r}: has {len(artefact.files)} files; the page loads one")
    return replace(contract, spec=contract.spec_of(artefact), artefacts=(artefact,))


def _choose(contract: Contract) -> Artefact:
    fitting = [artefact for artefact in contract.artefacts if artefact.format == _FORMAT]
    if not fitting:
        listed = ", ".join(f"{artefact.name} ({artefact.format})" for artefact in contract.artefacts)
        raise InputError(f"the page runs {_FORMAT}, and the bundle has {listed}: export with --engines onnxruntime")
    # False comes before True.
    return min(fitting, key=lambda artefact: (artefact.decodes_inside, artefact.precision != "fp32"))


def _refuse_foreign(out: Path) -> None:
    """Refuse to replace anything but a page, or a page with further files.

    Raises:
        InputError: if the folder has such files.
    """
    if out.is_file():
        raise InputError(f"--out {out}: is a file; name a folder")
    if not out.exists():
        return
    ours = {PAGE_FILE}
    try:
        ours.update(cast("dict[str, list[str]]", json.loads((out / PAGE_FILE).read_text(encoding="utf-8")))["files"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--out {out}: its {PAGE_FILE} is not of a page; name a new or empty folder") from error
    if foreign := sorted({*_files_of(out)} - ours):
        raise InputError(f"--out {out}: has a file that is not of a page, {foreign[0]}; name a new or empty folder")


def _files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _add_example(path: Path, folder: Path, *, number: int) -> dict[str, str]:
    """Copy a picture into the page, and return its file and its name."""
    picture = open_picture(path)
    ending = _BROWSER_FORMATS.get(find_format(path) or "")
    file = f"examples/{number}{ending or '.png'}"
    (folder / file).parent.mkdir(exist_ok=True)
    if ending:
        shutil.copyfile(path, folder / file)
    else:
        picture.save(folder / file)
    return {"file": file, "name": path.stem}
