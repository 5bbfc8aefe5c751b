"""/v1/files: what batches read and what they answer."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from distilq.files import File
from distilq.storage import Storage

from ..answers import as_json, first_known
from ..batches.rows import unstored
from ..bodies import parse_query
from ..context import library
from ..uploads import received
from .file_schemas import FileDeleted, FileList, FileObject, FilesQuery

blueprint = Blueprint("openai_files", __name__)


@blueprint.post("/v1/files")
def upload() -> Response:
    return as_json(_shown(library().files.add(received())))


@blueprint.get("/v1/files")
def page() -> Response:
    query = parse_query(FilesQuery)
    found, more = library().files.page(query.limit, query.after, query.purpose)
    data = [_shown(file) for file in found]
    first, last = (found[0].id, found[-1].id) if found else (None, None)
    return as_json(FileList(data=data, first_id=first, last_id=last, has_more=more))


@blueprint.get("/v1/files/<file_id>")
def get(file_id: str) -> Response:
    return as_json(_shown(library().files.get(file_id)))


@blueprint.get("/v1/files/<file_id>/content")
def content(file_id: str) -> Response:
    file = library().files.get(file_id)
    blocks = _content(file, library().storage)
    response = Response(first_known(blocks), content_type="application/octet-stream")
    response.content_length = file.bytes
    return response


@blueprint.delete("/v1/files/<file_id>")
def delete(file_id: str) -> Response:
    for path in library().files.drop(file_id).parts:
        library().storage.delete(path)
    return as_json(FileDeleted(id=file_id))


def _content(file: File, storage: Storage) -> Iterator[bytes]:
    for path in file.parts:
        blocks = storage.read(path)
        if file.purpose == "batch":
            yield from blocks
        else:
            yield from (row for _, _, _, row in unstored(blocks))


def _shown(file: File) -> FileObject:
    return FileObject.model_validate(file.model_dump(exclude={"owner", "parts"}))
