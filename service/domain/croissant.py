"""Croissant metadata (http://mlcommons.org/croissant/1.0) of an output: its files, and what a record in them holds.

Names of files are relative: the metadata lie beside the files, and so go wherever these go."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

NAME = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
JSON_LD = "application/ld+json"
ENCODINGS = {
    "parquet": "application/x-parquet",
    "csv": "text/csv",
    "jsonl": "application/jsonlines",
    "zip": "application/zip",
    "webdataset": "application/x-tar",
    "png": "image/png",
    "webp": "image/webp",
}
ARCHIVES = ("zip", "webdataset")
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
SCORED = {  # columns of a scoring's file: their types
    "index": "sc:Integer",
    "name": "sc:Text",
    "score": "sc:Float",
    "distance": "sc:Float",
    "at_5_percent": "sc:Text",
    "at_1_percent": "sc:Text",
}

Json = dict[str, Any]


def metadata(
    manifest: Mapping[str, Any], schema: Mapping[str, Any], name: str, description: str, license: str | None
) -> bytes:
    """JSON-LD. The manifest is that of the output, the schema that of its model."""
    format = manifest["format"]
    files = [_file(file, format) for file in manifest["files"]]
    sets, records = _records(manifest, schema)
    told = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": CONFORMS_TO,
        **({"license": license} if license else {}),
        "version": "1.0.0",
        "datePublished": manifest["created_at"],
        "isLiveDataset": False,
        "distribution": [*files, *sets],
        "recordSet": records,
    }
    return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def _file(file: Mapping[str, Any], format: str) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file["name"],
        "name": file["name"],
        "contentUrl": file["name"],
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": ENCODINGS.get(format, "application/octet-stream"),
        "sha256": file["sha256"],
    }


def _set(id: str, format: str, includes: str, within: Sequence[Mapping[str, Any]] = ()) -> Json:
    """Files of one kind: those of the output, or what lies within its archives."""
    held = {"containedIn": [{"@id": file["name"]} for file in within]} if within else {}
    return {"@type": "cr:FileSet", "@id": id, "name": id} | held | {"encodingFormat": format, "includes": includes}


def _records(manifest: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[list[Json], list[Json]]:
    """(file sets, record sets)."""
    columns: list[tuple[str, str, Sequence[str] | None]]
    if "scored" in manifest:
        named = "height" in schema  # rows have no names of their own
        columns = [(name, kind, None) for name, kind in SCORED.items() if named or name != "name"]
    elif "columns" in schema:
        columns = [
            (column["name"], data_type(column), within(schema, column["name"], manifest["format"]))
            for column in schema["columns"]
        ]
        if flag := (manifest.get("augmented") or {}).get("flag"):
            columns.append((flag, "sc:Boolean", None))
    elif "height" in schema:
        return _pictures(manifest, schema)
    else:
        return [], []
    sets, source = _source(manifest)
    fields = [_field("records", name, kind, _column(source, name, path)) for name, kind, path in columns]
    return sets, [_record_set("records", fields)]


def _source(manifest: Mapping[str, Any]) -> tuple[list[Json], Json]:
    """Where records are: in the one file, or in all of them."""
    files, format = manifest["files"], manifest["format"]
    if len(files) == 1:
        return [], {"fileObject": {"@id": files[0]["name"]}}
    suffix = files[0]["name"].rpartition(".")[2] if files else format
    return [_set("parts", ENCODINGS.get(format, "application/octet-stream"), f"part-*.{suffix}")], {
        "fileSet": {"@id": "parts"}
    }


def _record_set(id: str, fields: list[Json]) -> Json:
    return {"@type": "cr:RecordSet", "@id": id, "name": id, "field": fields}


def _field(records: str, name: str, kind: str, source: Json) -> Json:
    id = f"{records}/{quote(name, safe='')}"
    return {"@type": "cr:Field", "@id": id, "name": name, "dataType": kind, "source": source}


def _column(source: Json, name: str, path: Sequence[str] | None) -> Json:
    if not path:
        return source | {"extract": {"column": name}}
    inner = "".join(f".{json.dumps(step, ensure_ascii=False)}" for step in path[1:])
    return source | {"extract": {"column": path[0]}, "transform": {"jsonPath": f"${inner}"}}


def within(schema: Mapping[str, Any], name: str, format: str) -> Sequence[str] | None:
    """The path to a column's values where the format keeps them in objects; CSV has dotted names in their place."""
    path: Sequence[str] | None = ((schema.get("layout") or {}).get("nested") or {}).get(name)
    return path if path and len(path) > 1 and format != "csv" else None


def data_type(column: Mapping[str, Any]) -> str:
    """What a reader gets from the column as it is written; Text for numbers and dates in a form of their own."""
    kind, arrow = column.get("type"), str(column.get("arrow", "string"))
    if kind in ("integer", "float"):
        spelt = column.get("grouped") or column.get("comma")
        return "sc:Text" if spelt else "sc:Integer" if kind == "integer" else "sc:Float"
    if kind in ("date", "datetime"):
        native = arrow.startswith(("date", "timestamp")) or str(column.get("format", "")).startswith("%Y-%m-%d")
        return "sc:Text" if not native else "sc:Date" if kind == "date" else "sc:DateTime"
    if kind in ("time", "duration"):
        return "sc:Text"
    if arrow == "bool":
        return "sc:Boolean"
    if arrow.startswith(("int", "uint")):
        return "sc:Integer"
    return "sc:Float" if arrow.startswith(("double", "float", "halffloat", "decimal")) else "sc:Text"


def _pictures(manifest: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[list[Json], list[Json]]:
    files, format, classes = manifest["files"], manifest["format"], schema.get("classes")
    if format not in ARCHIVES:
        sets, source = _source(manifest)
        where = {"extract": {"column": "image"}, "transform": {"jsonPath": "$.bytes"}} if format == "parquet" else {
            "extract": {"fileProperty": "content"}
        }  # fmt: skip
        fields = [_field("pictures", "image", "sc:ImageObject", source | where)]
        if classes and format == "parquet":
            fields.append(_field("pictures", "label", "sc:Text", _column(source, "label", None)))
        return sets, [_record_set("pictures", fields)]
    sets, source = [_set("png", "image/png", "*.png", files)], {"fileSet": {"@id": "png"}}
    stem = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^(.+)\.[a-z]+$"}}
    fields = [
        _field("pictures", "name", "sc:Text", source | stem),
        _field("pictures", "image", "sc:ImageObject", source | {"extract": {"fileProperty": "content"}}),
    ]
    if classes and format == "zip":  # a folder for each class; a tar's labels are in files beside the pictures
        folder = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": r"([^/]+)/[^/]+$"}}
        fields.append(_field("pictures", "label", "sc:Text", source | folder))
    return sets, [_record_set("pictures", fields)]
