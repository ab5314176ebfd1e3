"""Write the chart's StoreBackend definition from the document model, or (`--check`) compare.

One model (`pannier.config.documents`) says what a StoreBackend may hold, in a file as in the
cluster. `tools/crd` makes the resource's schema of it, with the rules in CEL.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml
from crd.rules import NAME
from crd.schema import CLASSES, spec_schema
from crd.status import COLUMNS, STATUS
from written_files import ROOT, write_or_check

from pannier.config.documents import API_VERSION, KIND

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
    return write_or_check(
        {FILE: HEAD + yaml.dump(definition(), Dumper=Plain, sort_keys=False, width=100)},
        present=(),
        description=__doc__,
        differs=f"{FILE.relative_to(ROOT)} is not what tools/write_crd.py would write.",
    )


if __name__ == "__main__":
    sys.exit(main())
