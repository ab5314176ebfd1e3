"""The page of the StoreBackend: every field of its spec, from the schema that the cluster has."""

from __future__ import annotations

from typing import Any, Final

from crd.rules import ADVICE, of_a_text
from crd.schema import CLASSES, FIELDS, Schema, spec_schema

from pannier.config.documents import API_VERSION, KIND
from reference.markdown import anchor, as_line, code, page, sentence, table

HEAD: Final = ("field", "value", "default", "meaning")
ABOUT: Final = (
    f"{CLASSES[KIND]} The same document is a file's (`pannier sidecar --config`) and the "
    f"cluster's; its `apiVersion` is `{API_VERSION}`, its `kind` `{KIND}`, and `metadata.name`, a "
    "DNS label, is the store's name. `kubectl explain storebackend.spec` says the same, and "
    "`pannier check FILE` what is wrong with a file. What is **bold** must be there."
)
WORDS: Final = {
    "subdomain": "name", "secret-key": "entry", "host": "host", "node": "node",
    "namenode": "web address", "path": "path", "hdfs-path": "HDFS path",
    "duration": "duration", "size": "size",
}  # fmt: skip
"""Grammar -> how a value of it is called here."""


def fields_page() -> str:
    """The page."""
    parts = [
        ABOUT,
        *section("spec", spec_schema()),
        "## Secret references",
        CLASSES["SecretRef"],
        table(
            HEAD,
            [
                ["**`name`**", "name", "", FIELDS["SecretRef", "name"]],
                ["**`key`**", "entry", "", FIELDS["SecretRef", "key"]],
            ],
        ),
        "## Kinds of values",
        table(
            ("value", "grammar"),
            [
                [WORDS[form], sentence(advice[0].upper() + advice[1:])]
                for form, advice in sorted(ADVICE.items(), key=lambda each: WORDS[each[0]].lower())
            ],
        ),
    ]
    return page("StoreBackend", *parts)


def section(path: str, schema: Schema) -> list[str]:
    """An object's fields, then each object in it."""
    required = schema.get("required", ())
    rows, below = [], []
    for name, each in schema["properties"].items():
        shown = f"**`{name}`**" if name in required else code(name)
        if is_secret_ref(each):
            value = "[secret reference](#secret-references)"
        elif each.get("type") == "object":
            inner = f"{path}.{name}"
            value = f"[object]({anchor(inner)})"
            below += section(inner, each)
        else:
            value = value_of(each)
        default = each.get("default", "")
        rows.append([shown, value, "" if isinstance(default, dict) else code(default), said(each)])
    parts = [f"## {path}", as_line(schema["description"]), table(HEAD, rows)]
    rules = schema.get("x-kubernetes-validations", ())
    if rules:
        parts.append("Refused, with these words:\n")
        parts.append("".join(f"- {rule['message']}\n" for rule in rules))
    return parts + below


def said(schema: Schema) -> str:
    text = str(schema["description"])
    return text.replace(CLASSES["SecretRef"], "").strip() if is_secret_ref(schema) else text


def is_secret_ref(schema: Schema) -> bool:
    return schema.get("type") == "object" and set(schema["properties"]) == {"name", "key"}


def value_of(schema: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "enum" in schema:
        return " or ".join(code(each) for each in schema["enum"])
    if schema.get("type") == "array":
        few, many = schema.get("minItems", 0), schema["maxItems"]
        return f"{few} to {many} of: {value_of(schema['items'])}"
    if schema.get("type") == "integer":
        return f"{schema['minimum']} to {schema['maximum']}"
    for form, words in WORDS.items():
        if schema.get("x-kubernetes-validations") == of_a_text(form):
            return words
    if "pattern" in schema:
        return code(schema["pattern"].strip("^$"))
    return f"{schema['minLength']} to {schema['maxLength']} characters"
