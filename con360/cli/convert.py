"""`con360 convert`: pickled checkpoints to safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .report import Report, table
from .requests import ConvertRequest

if TYPE_CHECKING:
    from ..weights.convert import Converted


def run_convert(options: ConvertRequest, started: float) -> None:
    """Run the command."""
    from ..weights.convert import FolderReport, convert_file, convert_folder

    source, target = (Path(name).expanduser().absolute() for name in (options.input, options.output))
    report, folder = Report(started), FolderReport((), (), ())
    asked = {"half": options.half, "tensors_only": options.tensors_only}
    with report.stage("converting", steps=source.is_dir()) as progress:
        if source.is_dir():
            folder = convert_folder(source, target, **asked, progress=progress)
        else:
            folder = FolderReport((convert_file(_existing(source), target, **asked),), (), ())
    report.notice(*notices_of(folder.files))
    if options.json:
        files = [one.to_dict() for one in folder.files]
        print(json.dumps({"files": files, "copied": folder.copied, "left_out": folder.left_out, "output": str(target)}))
        return
    print(file_table(folder.files), end="\n\n")
    for words, names in (("copied", folder.copied), ("left out", folder.left_out)):
        if names:
            print(f"{words}: {', '.join(names)}")
    print(target)


def _existing(source: Path) -> Path:
    from ..media.files import existing_file

    return existing_file(source)


def file_table(files: Sequence[Converted]) -> str:
    """One line per file: tensors, dtypes, sizes."""
    rows: list[tuple[str, ...]] = [("file", "tensors", "dtypes", "MB before", "MB after")]
    for one in files:
        dtypes = ", ".join(f"{name} x {count}" for name, count in one.dtypes.items())
        sizes = (f"{size / 1e6:.1f}" for size in (one.bytes_before, one.bytes_after))
        rows.append((one.target, str(one.tensors), dtypes, *sizes))
    return table(rows)


def notices_of(files: Sequence[Converted]) -> list[str]:
    """Sentences for the user about shared, infinite and wide tensors."""
    sentences = []
    for one in files:
        if one.shared:
            groups = "; ".join(" = ".join(names) for names in one.shared[:3])
            sentences.append(f"{one.source} stores {len(one.shared)} tensor(s) under several names ({groups})")
        if one.left_out:
            sentences.append(
                f"{len(one.left_out)} tensors of {one.source} are left out, such as {one.left_out[0]}; no model reads "
                f"them"
            )
        if one.not_finite:
            sentences.append(
                f"{one.source} holds NaN or infinity in {', '.join(one.not_finite[:3])}; no model loads it"
            )
        if one.kept_wide:
            sentences.append(f"{one.source}: {', '.join(one.kept_wide[:3])} stay float32; float16 cannot hold them")
    return sentences
