"""The server imports aiohttp without its client, and leaves the package whole for others."""

from __future__ import annotations

import subprocess
import sys


def said(program: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_server_does_not_import_the_client() -> None:
    program = """
import sys
import pannier.server.life
print([name for name in ("aiohttp.client", "aiohttp.connector", "aiohttp.web_app", "yaml",
       "click", "prometheus_client") if name in sys.modules])
"""
    assert said(program) == "[]"


def test_the_package_is_whole_for_whoever_imports_it_later() -> None:
    program = """
import pannier.server.life
import aiohttp
from aiohttp import ClientSession, web
import aiohttp.client, aiohttp.web_protocol
from pannier.server.lean_aiohttp import RequestHandler
print(aiohttp.ClientSession is ClientSession is aiohttp.client.ClientSession,
      aiohttp.web_protocol.RequestHandler is web.RequestHandler is RequestHandler,
      aiohttp.__version__[0], hasattr(aiohttp, "no_such_name"))
"""
    assert said(program) == "True True 3 False"


def test_a_package_imported_earlier_is_left_as_it_is() -> None:
    program = """
import aiohttp
import pannier.server.life, sys
print(sys.modules["aiohttp"] is aiohttp, aiohttp.ClientSession.__name__)
"""
    assert said(program) == "True ClientSession"
