"""Files as the readers want them: UTF-8, not compressed, a row of JSON a line. Others are copied so."""

import codecs
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any

import datasets
import pyarrow as pa

from distilnlp.data import conll
from distilnlp.data.parts import FOLDER
from distilnlp.errors import DistillationError, shown
from distilnlp.files import PARTIAL, content_checksum

logger = logging.getLogger(__name__)

BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zip": "zip"}
EXCEL = ".xlsx"
ENDINGS = (*BUILDERS, EXCEL, *conll.ENDINGS)
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BLOCK = 1 << 20  # bytes, or characters


@dataclass(frozen=True)
class FileForm:
    """What the recipe says of how its files are written.

    Attributes:
        delimiter: between the fields of delimited files; None = told from the rows.
        encoding: of texts; None = UTF-8, or what the mark at the beginning of a file says.
        column_names: of delimited files without a header.
    """

    delimiter: str | None = None
    encoding: str | None = None
    column_names: tuple[str, ...] | None = None


def ending_of(path: Path) -> str:
    """Return the ending that says what is in a file, without that of its compression."""
    return Path(path.stem if path.suffix.lower() in COMPRESSED else path.name).suffix.lower()


def plain_copy(path: Path, form: FileForm) -> Path:
    """Return a file as the readers want it: itself if it is so, else a copy in the cache of the datasets library.

    Raises:
        DistillationError: it cannot be decompressed or decoded, or is an archive of several files.
    """
    ending = ending_of(path)
    convert = _conversion(path, ending, form)
    if convert is None:
        return path
    found = path.stat()
    key = content_checksum([str(path.resolve()), found.st_size, found.st_mtime_ns, asdict(form), convert.__name__])
    folder = Path(datasets.config.HF_DATASETS_CACHE).expanduser() / FOLDER / "copies" / key
    name = path.stem if path.suffix.lower() in COMPRESSED else path.name
    kinds = {_copy_excel: ".parquet", _copy_tagged: ".jsonl"}
    copy = folder / (f"{Path(name).stem}{kinds[convert]}" if convert in kinds else name)
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{os.getpid()}{PARTIAL}"
        try:
            convert(path, temporary, form)
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)
    return copy


def _conversion(path: Path, ending: str, form: FileForm) -> Any:
    """Return what makes the copy of a file; None if the file can be read as it is."""
    if ending == EXCEL:
        return _copy_excel
    if ending == ".json" and _is_object(path, form):
        return _copy_object
    if ending in conll.ENDINGS or (ending == ".txt" and _is_tagged(path, form)):
        return _copy_tagged
    if path.suffix.lower() in COMPRESSED or (ending != ".parquet" and encoding_of(path, form) != "utf-8"):
        return _copy_text if ending != ".parquet" else _copy_bytes
    return None


# ---- Bytes and characters ----


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of bytes, decompressed by its ending."""
    kind = COMPRESSED.get(path.suffix.lower())
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
                if len(members) != 1:
                    raise DistillationError(
                        f"{path} must hold one file, but it holds {len(members)}: {shown(members)}. Unpack it, and "
                        "name the files that are meant."
                    )
                with archive.open(members[0]) as file:
                    yield file
        elif kind:
            with pa.input_stream(str(path), compression=kind) as file:
                yield file
        else:
            with path.open("rb") as file:
                yield file
    except (zipfile.BadZipFile, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # of the disk
            raise
        raise DistillationError(f"cannot decompress {path}: {error}. Make or download it anew.") from error


def encoding_of(path: Path, form: FileForm) -> str:
    """Return the encoding of a file of text, by what the recipe says or by the mark at its beginning."""
    with _opened(path) as file:
        start = bytes(file.read(4))
    marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    named = marked or form.encoding or "utf-8"
    try:
        return codecs.lookup(named).name
    except LookupError:
        raise DistillationError(
            f"data.encoding must be the name of an encoding, such as cp1252 or utf-8, but it is {shown(named)}. "
            "Mend it."
        ) from None


def _copy_bytes(path: Path, copy: Path, form: FileForm) -> None:
    with _opened(path) as file, copy.open("wb") as written:
        shutil.copyfileobj(file, written, BLOCK)


def _copy_text(path: Path, copy: Path, form: FileForm) -> None:
    encoding = encoding_of(path, form)
    if not encoding.startswith("utf-8") and form.encoding is None:
        logger.info("%s: read as %s, by the mark at its beginning", path, encoding.upper())
    decoder = codecs.getincrementaldecoder(encoding)()
    with _opened(path) as file, copy.open("wb") as written:
        place = 0
        while block := bytes(file.read(BLOCK)):
            try:
                written.write(decoder.decode(block).encode())
            except UnicodeDecodeError as error:
                raise not_decodable(path, encoding, place + error.start) from error
            place += len(block)
        written.write(decoder.decode(b"", True).encode())


def not_decodable(path: Path, encoding: str, place: int) -> DistillationError:
    """Return what is said of a file whose bytes are no text of its encoding, from about this place on."""
    return DistillationError(
        f"{path} is not {encoding.upper()}: what stands at about byte {place:,} is no character of it. Set "
        "data.encoding, such as cp1252 for texts of older Windows programs, or save the file as UTF-8."
    )


def first_undecodable(path: Path) -> int | None:
    """Return about where a file stops being UTF-8; None if it is all of it."""
    decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return place + error.start
            place += len(block)
    return None


# ---- Words with tags ----


def _is_tagged(path: Path, form: FileForm) -> bool:
    """Whether a file of text holds words with tags, by its first lines."""
    try:
        with _opened(path) as file:
            start = bytes(file.read(BLOCK)).decode(encoding_of(path, form), errors="ignore")
    except OSError:
        return False
    return conll.looks_tagged(start.splitlines()[: conll.LOOKED_AT])


def _copy_tagged(path: Path, copy: Path, form: FileForm) -> None:
    encoding = encoding_of(path, form)
    with _opened(path) as file, copy.open("w", encoding="utf-8") as written:
        lines = TextIOWrapper(BufferedReader(file), encoding=encoding)  # type: ignore[type-var]
        try:
            said = conll.write_sentences(iter(lines), written, str(path))
        except UnicodeDecodeError as error:
            raise not_decodable(path, encoding, error.start) from error
    logger.info("%s: %s", path, said)


# ---- Spreadsheets ----


def _copy_excel(path: Path, copy: Path, form: FileForm) -> None:
    import pandas as pd

    try:
        sheets = pd.read_excel(path, sheet_name=None, names=form.column_names, header=None if form.column_names else 0)
    except ImportError as error:
        raise DistillationError(
            f"{path} is a spreadsheet, which takes a further package to read. Install it, pip install "
            "'distilnlp[excel]', or save the sheet as CSV."
        ) from error
    except Exception as error:  # what a damaged file raises has no common kind
        raise DistillationError(f"cannot read the spreadsheet {path}: {error}. Save it anew, or as CSV.") from error
    filled = {name: sheet for name, sheet in sheets.items() if len(sheet)}
    if len(filled) != 1:
        raise DistillationError(
            f"the spreadsheet {path} must have one sheet with rows, but it has {len(filled)}: {shown(list(filled))}. "
            "Save the one that is meant as a file of its own."
        )
    next(iter(filled.values())).to_parquet(copy, index=False)


# ---- JSON of one object ----


def _is_object(path: Path, form: FileForm) -> bool:
    """Whether a file of JSON is one object, in a form that pandas writes, or with its rows under one key."""
    with _opened(path) as file:
        start = bytes(file.read(BLOCK)).lstrip(codecs.BOM_UTF8 + b" \t\r\n")
    if not start.startswith(b"{"):
        return False
    first, separator, rest = start.partition(b"\n")
    try:
        json.loads(first)
        is_lines = bool(separator and rest.strip())
    except ValueError:  # it goes over lines, or is longer than a block
        is_lines = False
    if is_lines:
        return False
    try:
        with _opened(path) as file:
            return _rows_of(json.loads(bytes(file.read()).decode(encoding_of(path, form)))) is not None
    except ValueError:  # said by the reader
        return False


def _copy_object(path: Path, copy: Path, form: FileForm) -> None:
    with _opened(path) as file:
        rows = _rows_of(json.loads(bytes(file.read()).decode(encoding_of(path, form)))) or []
    with copy.open("w", encoding="utf-8") as written:
        written.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rows_of(content: Any) -> Sequence[Mapping[str, Any]] | None:
    """Return the rows of a JSON object: of a table as pandas writes it, or the one list of objects in it.

    None where it is something else: a single row, or SQuAD, whose articles are read by their task.
    """
    if not isinstance(content, dict) or not content:
        return None
    names, values = content.get("columns"), content.get("data")
    if isinstance(names, list) and isinstance(values, list) and content.keys() <= {"columns", "index", "data"}:
        return [dict(zip(map(str, names), row, strict=True)) for row in values]
    if all(isinstance(value, dict) and value for value in content.values()):
        first = next(iter(content.values()))
        if all(value.keys() == first.keys() for value in content.values()):
            if all(map(str.isdigit, first)):  # pandas' default: {column: {row: value}}
                return [{name: column[row] for name, column in content.items()} for row in first]
            if all(map(str.isdigit, content)):  # {row: {column: value}}
                return list(content.values())
    lists = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) == 1 and "paragraphs" not in lists[0][0]:
        return lists[0]
    return None
