"""The schema of a StoreBackend's `spec`, from the document model that files are read with.

Types, bounds and defaults are the annotations of `pannier.config.documents`, descriptions are its
docstrings; what a schema cannot say is in `crd.rules`.
"""

from __future__ import annotations

import ast
import inspect as python
from typing import Any, Final

import msgspec
from msgspec import inspect

from crd.rules import ACROSS_FIELDS, IMMUTABLE, NEVER_CHANGES, of_a_text
from pannier.config import documents
from pannier.config.documents import SecretRef, Spec
from pannier.config.rules import RULES
from pannier.config.units import LONGEST_TEXT, format_duration, format_size

Schema = dict[str, Any]


def spec_schema() -> Schema:
    """The schema of `spec`."""
    kind = inspect.type_info(Spec)
    assert isinstance(kind, inspect.StructType)
    return {"description": CLASSES["Spec"], **of_struct(kind)}


def docstrings() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """The docstrings of the model's classes, and of their fields."""
    classes: dict[str, str] = {}
    fields: dict[tuple[str, str], str] = {}
    for node in ast.parse(python.getsource(documents)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        classes[node.name] = as_line(ast.get_docstring(node) or "")
        for field, after in zip(node.body, node.body[1:]):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                assert isinstance(field.target, ast.Name) and isinstance(after.value, ast.Constant)
                fields[node.name, field.target.id] = as_line(str(after.value.value))
    return classes, fields


def as_line(text: str) -> str:
    return " ".join(text.split())


CLASSES, FIELDS = docstrings()


def of_struct(kind: inspect.StructType) -> Schema:
    """An object, without its description."""
    schema: Schema = {"type": "object"}
    required = [field.encode_name for field in kind.fields if field.required]
    if required:
        schema["required"] = required
    schema["properties"] = {field.encode_name: of_field(kind.cls, field) for field in kind.fields}
    rules = [each for rule in RULES.get(kind.cls, ()) for each in ACROSS_FIELDS[rule]]
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def of_field(owner: type, field: inspect.Field) -> Schema:
    """One field, with its description and its default."""
    kind, form = plain(field.type)
    schema = {"description": description(owner, field.name, kind), **of_value(field.type)}
    if field.default not in (msgspec.NODEFAULT, None):
        schema["default"] = default(field.default, form)
    if (owner, field.encode_name) in IMMUTABLE:
        schema.setdefault("x-kubernetes-validations", []).append(NEVER_CHANGES)
    return schema


def description(owner: type, name: str, kind: inspect.Type) -> str:
    own = FIELDS.get((owner.__name__, name), "")
    general = CLASSES[kind.cls.__name__] if isinstance(kind, inspect.StructType) else ""
    # What a reference is for comes first; of all else, what it is.
    parts = (own, general) if getattr(kind, "cls", None) is SecretRef else (general, own)
    text = " ".join(part for part in parts if part)
    assert text, f"{owner.__name__}.{name} has no docstring in pannier/config/documents.py"
    return text


def plain(kind: inspect.Type) -> tuple[inspect.Type, str | None]:
    """A type without "or absent" and without the format it carries; and the format."""
    form = None
    while isinstance(kind, (inspect.Metadata, inspect.UnionType)):
        if isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        else:
            form = (kind.extra or {}).get("format", form)
            kind = kind.type
    return kind, form


def of_value(value: inspect.Type) -> Schema:
    """What a value of that type may be."""
    kind, form = plain(value)
    if form in ("duration", "size"):
        return of_number_in_words(form)
    if isinstance(kind, inspect.StructType):
        return of_struct(kind)
    if isinstance(kind, inspect.LiteralType):
        return {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, inspect.IntType):
        return {"type": "integer", "format": "int32", "minimum": kind.ge, "maximum": kind.le}
    if isinstance(kind, inspect.VarTupleType):
        bounds = {"minItems": kind.min_length, "maxItems": kind.max_length}
        return {
            "type": "array",
            **{name: bound for name, bound in bounds.items() if bound is not None},
            "x-kubernetes-list-type": "atomic",
            "items": of_value(kind.item_type),
        }
    if isinstance(kind, inspect.StrType):
        schema: Schema = {"type": "string", "minLength": kind.min_length or 1}
        if kind.pattern is not None:
            return {**schema, "maxLength": KEY_PREFIX_CHARACTERS, "pattern": kind.pattern}
        schema["maxLength"] = kind.max_length
        if form is not None:
            schema["x-kubernetes-validations"] = of_a_text(form)
        return schema
    raise TypeError(f"The document model uses {kind}, which has no schema here")


KEY_PREFIX_CHARACTERS: Final = 64


def of_number_in_words(form: str) -> Schema:
    """A duration or a size, which the document writes as a text."""
    schema: Schema = {"type": "string"} if form == "duration" else {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }  # fmt: skip
    return {
        **schema,
        "maxLength": LONGEST_TEXT,
        "x-kubernetes-validations": of_a_text(form),
    }


def default(value: Any, form: str | None) -> Any:
    """A default as the document writes it.

    A part's holds every field: the API server wants a default to keep the rules by itself.
    """
    if isinstance(value, msgspec.Struct):
        kind = inspect.type_info(type(value))
        assert isinstance(kind, inspect.StructType)
        return {
            field.encode_name: default(getattr(value, field.name), plain(field.type)[1])
            for field in kind.fields
        }
    if form == "duration":
        return format_duration(value)
    return format_size(value) if form == "size" else value
