"""A real Kerberos realm for tests: a KDC of its own, its principals, keytabs and tickets."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.real.processes import die_with_parent, listens, wait_until
from tests.real.programs import free_port, program

REALM = "PANNIER.TEST"
SERVICES = ("nn/localhost", "dn/localhost", "HTTP/localhost")

KRB5_CONF = """
[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
# Java would otherwise ask by UDP first, which this KDC does not serve.
udp_preference_limit = 1
[realms]
{realm} = {{
    kdc = 127.0.0.1:{port}
}}
"""

KDC_CONF = """
[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realm} = {{
    database_name = {home}/principal
    key_stash_file = {home}/stash
    acl_file = {home}/kadm5.acl
    max_life = 10h
}}
[logging]
kdc = FILE:{home}/kdc.log
"""


class Kdc:
    """A Kerberos realm, with the keytabs of HDFS's services; stopped by `stop`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.conf = home / "krb5.conf"
        self.conf.write_text(KRB5_CONF.format(realm=REALM, port=self.port))
        (home / "kdc.conf").write_text(KDC_CONF.format(realm=REALM, port=self.port, home=home))
        self._environment = {
            **os.environ,
            "KRB5_CONFIG": str(self.conf),
            "KRB5_KDC_PROFILE": str(home / "kdc.conf"),
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "of the test's only")
        self.keytabs = {name: self.keytab(name) for name in SERVICES}
        self._process = subprocess.Popen(
            [program("krb5kdc"), "-n", "-r", REALM],
            stdin=subprocess.DEVNULL, env=self._environment, preexec_fn=die_with_parent,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: listens(self.port), 20, "the KDC listens")

    def keytab(self, principal: str) -> str:
        """Make a principal; the path of its new keytab."""
        path = str(self.home / f"{principal.replace('/', '-')}.keytab")
        self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
        self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {path} {principal}")
        return path

    def ticket(self, principal: str) -> str:
        """Log a new principal in; its credential cache, for KRB5CCNAME."""
        cache = f"FILE:{self.home}/{principal}.cache"
        self._run("kinit", "-c", cache, "-k", "-t", self.keytab(principal), principal)
        return cache

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [program(name), *arguments],
            env=self._environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stdout}{done.stderr}")


def secure_settings(kdc: Kdc) -> dict[str, str]:
    """What turns a test's HDFS into one that believes nobody without a ticket or a token."""
    settings = {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        # The tests' user is in the superuser's group, which saves a shell to prepare directories.
        "hadoop.user.group.static.mapping.overrides": "pannier=supergroup;nn=;dn=;HTTP=",
        # "simple" here would silently let user.name in.
        "hadoop.http.authentication.type": "kerberos",
        "dfs.block.access.token.enable": "true",
        "dfs.http.policy": "HTTP_ONLY",
        "ignore.secure.ports.for.testing": "true",
    }
    for prefix in ("dfs.web.authentication", "hadoop.http.authentication"):
        settings[f"{prefix}.kerberos.principal"] = f"HTTP/localhost@{REALM}"
        settings[f"{prefix}.kerberos.keytab"] = kdc.keytabs["HTTP/localhost"]
    for node, name in (("namenode", "nn"), ("datanode", "dn")):
        settings[f"dfs.{node}.kerberos.principal"] = f"{name}/localhost@{REALM}"
        settings[f"dfs.{node}.keytab.file"] = kdc.keytabs[f"{name}/localhost"]
    return settings
