"""Who asked an API server for what: its audit log, held against the rights that were given.

So least privilege is measured: a rule that no request needed is one too many, a request that was
forbidden is one that a rule lacks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

POLICY: Final = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
"""
"""Each request with its answer; a watch when it begins and when it ends."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the audit log has it, and the HTTP status of its answer."""

    verb: str
    group: str
    resource: str
    """With its subresource: storebackends/status."""
    namespace: str
    name: str
    status: int

    @property
    def forbidden(self) -> bool:
        return self.status == 403


@dataclass(frozen=True, slots=True)
class Right:
    """One verb of one rule on one resource."""

    role: str
    namespace: str
    """"" for the whole cluster."""
    verb: str
    group: str
    resource: str
    name: str
    """"" for any."""

    def covers(self, request: Request) -> bool:
        """Whether this right is what the request needs."""
        return (
            self.namespace in ("", request.namespace)
            and self.name in ("", request.name)
            and (self.verb, self.group, self.resource)
            == (request.verb, request.group, request.resource)
        )


def requests_of(log: Path, user: str) -> list[Request]:
    """What `user` asked for so far, in order; requests that are about no resource are left out."""
    return list(_requests(log, user))


def _requests(log: Path, user: str) -> Iterator[Request]:
    for line in log.read_text().splitlines() if log.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            return  # the last line, which is being written
        if event["user"]["username"] != user or "resource" not in event.get("objectRef", {}):
            continue
        about = event["objectRef"]
        resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
        yield Request(
            verb=event["verb"],
            group=about.get("apiGroup", ""),
            resource=resource,
            namespace=about.get("namespace", ""),
            name=about.get("name", ""),
            status=event.get("responseStatus", {}).get("code", 0),
        )


def rights_in(rendered: str, account: str) -> list[Right]:
    """What the roles in a rendered chart give to the ServiceAccount, by the chart's bindings."""
    objects = [each for each in yaml.safe_load_all(rendered) if each]
    rights: list[Right] = []
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        if all(subject["name"] != account for subject in binding["subjects"]):
            continue
        namespace = binding["metadata"].get("namespace", "")
        role = _role(objects, binding["roleRef"], namespace)
        for rule in role["rules"]:
            rights += _rights(role["metadata"]["name"], namespace, rule)
    return rights


def _role(objects: Iterable[Any], reference: Any, namespace: str) -> Any:
    (found,) = [
        each
        for each in objects
        if each["kind"] == reference["kind"]
        and each["metadata"]["name"] == reference["name"]
        and (each["kind"] == "ClusterRole" or each["metadata"]["namespace"] == namespace)
    ]
    return found


def _rights(role: str, namespace: str, rule: Any) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield Right(role, namespace, verb, group, resource, name)


def unused(rights: Iterable[Right], requests: Iterable[Request]) -> list[Right]:
    """The rights that no request needed."""
    granted = [request for request in requests if not request.forbidden]
    return [right for right in rights if not any(right.covers(each) for each in granted)]
