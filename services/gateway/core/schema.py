"""JSON Schemas of what the tools take and give: small, closed on the way in, described on the way out.

Pure. Input schemas come from `core.arguments`, cleaned of what models need not read; output schemas are written with the few
builders below.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_NOISE: Final = ("title", "$defs")


def input_schema(arguments: type[BaseModel]) -> Schema:
    """The schema of a tool's arguments: additionalProperties false, references inlined, `null` left out (an absent optional
    parameter says the same).
    """
    raw = arguments.model_json_schema()
    definitions = raw.get("$defs", {})
    cleaned: Schema = _clean(raw, definitions)
    cleaned.pop("description", None)
    return cleaned


def record(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these members; more may come in later versions."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def listing(items: Schema) -> Schema:
    """An array of one kind of thing."""
    return {"type": "array", "items": items}


def text(description: str = "", *, enum: list[str] | None = None, null: bool = False) -> Schema:
    """A string, possibly one of a few, possibly null."""
    schema: Schema = {"type": ["string", "null"] if null else "string"}
    if enum is not None:
        schema["enum"] = [*enum, None] if null else enum
    return _described(schema, description)


def number(description: str = "", *, null: bool = False) -> Schema:
    """A JSON number, possibly null (not measured, or nothing to measure)."""
    return _described({"type": ["number", "null"] if null else "number"}, description)


def whole(description: str = "") -> Schema:
    """A whole number."""
    return _described({"type": "integer"}, description)


def flag(description: str = "") -> Schema:
    """true or false."""
    return _described({"type": "boolean"}, description)


def anything(description: str = "") -> Schema:
    """A map whose members the description tells."""
    return _described({"type": "object"}, description)


def counts(description: str) -> Schema:
    """Name → how many."""
    return _described({"type": "object", "additionalProperties": {"type": "integer"}}, description)


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema


def _clean(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_clean(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        merged = {**definitions[schema["$ref"].rsplit("/", 1)[-1]], **schema}
        del merged["$ref"]
        return _clean(merged, definitions)
    alternatives = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(alternatives) == 1 and len(schema["anyOf"]) == 2:
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
        inner = _clean(alternatives[0], definitions)
        return {**inner, **_clean(rest, definitions)}
    kept = {key: value for key, value in schema.items() if key not in _NOISE}
    if "properties" in kept:
        properties = {name: _clean(value, definitions) for name, value in kept.pop("properties").items()}
        return {**{key: _clean(value, definitions) for key, value in kept.items()}, "properties": properties}
    return {key: _clean(value, definitions) for key, value in kept.items()}
