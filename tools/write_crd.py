"""Write the chart's StoreBackend definition from the document model, or (`--check`) compare.

One model (`pannier.config.documents`) says what a StoreBackend may hold, in a file as in the
cluster. `tools/crd` makes the resource's schema of it, with the rules in CEL.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

import yaml
from crd.rules import NAME
from crd.schema import CLASSES, spec_schema
from crd.status import COLUMNS, STATUS

from pannier.config.documents import API_VERSION, KIND

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "helm" / "pannier" / "crd" / "storebackends.yaml"
HEAD = (
    "# Written by tools/write_crd.py from sidecar/pannier/config/documents.py; not to be edited.\n"
)


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    schema = {
        "description": CLASSES[KIND],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": "The API's version.", "type": "string"},
            "kind": {"description": f"{KIND}.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": STATUS,
        },
        "x-kubernetes-validations": [NAME],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"storebackends.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": "storebackends",
                "singular": "storebackend",
                "shortNames": ["sb"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": COLUMNS,
                    "selectableFields": [{"jsonPath": ".spec.type"}],
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


class Plain(yaml.SafeDumper):
    """Writes what is there twice twice, since no reader of a chart wants anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if the file differs"
    )
    check = parser.parse_args().check
    text = HEAD + yaml.dump(definition(), Dumper=Plain, sort_keys=False, width=100)
    present = FILE.read_text() if FILE.exists() else ""
    if text == present:
        return 0
    name = str(FILE.relative_to(ROOT))
    if check:
        before, after = present.splitlines(), text.splitlines()
        print(*difflib.unified_diff(before, after, name, "generated", lineterm=""), sep="\n")
        print(f"{name} is not what tools/write_crd.py would write.")
        return 1
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text)
    print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
