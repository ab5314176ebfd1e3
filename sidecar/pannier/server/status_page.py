"""The status page: /v1/status for a person, with what idle cleanup closed; no asset from outside.

Each store is a pannier on the bicycle's rack; its bag fills with the connections in use. The page
fetches itself every second and swaps what has changed, so there is one renderer, this one. Its
Content-Security-Policy allows exactly the style and the script below, by their hashes.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any
from urllib.parse import quote

from pannier.config.served import ServedStore, StoreTable
from pannier.config.units import format_duration
from pannier.metrics import PoolFigures, pools_of
from pannier.pool.slots import CloseReason
from pannier.server.answers import Answer

STYLE = """
:root{--paper:#f6f1e7;--card:#fffdf8;--ink:#2b2620;--faint:#6f675c;--line:#e2d8c6;
--use:#b4532a;--idle:#e2b07a;--empty:#efe6d6;--good:#3f7d4e;--warn:#9a6b00;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--paper:#1b1815;--card:#26221d;--ink:#f1e9dc;
--faint:#b3a897;--line:#3c352c;--use:#e08a5b;--idle:#8a5f3c;--empty:#332d26;--good:#86c795;
--warn:#e6b85c;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 ui-rounded,"SF Pro Rounded",Nunito,"Segoe UI",system-ui,sans-serif}
main,footer{max-width:1080px;margin:0 auto;padding:0 20px}
header{display:flex;flex-wrap:wrap;gap:8px 28px;align-items:center;padding:28px 0 20px}
header svg{width:150px;height:94px;flex:none;stroke:var(--ink);fill:none;stroke-width:4;
stroke-linecap:round;stroke-linejoin:round}
header .bag{fill:var(--use);stroke:none}header .spokes{stroke-width:1.5;stroke:var(--faint)}
@media(prefers-reduced-motion:no-preference){.rolling .spokes{animation:roll 6s linear infinite}
.rolling .rider{animation:bob 1.6s ease-in-out infinite alternate}}
.spokes{transform-box:fill-box;transform-origin:center}
@keyframes roll{to{transform:rotate(360deg)}}@keyframes bob{to{transform:translateY(-1.5px)}}
h1{margin:0;font-size:34px;line-height:1.15;letter-spacing:-.02em}
h2{margin:0;font-size:20px;overflow-wrap:anywhere}
p{margin:2px 0}.faint{color:var(--faint)}.good{color:var(--good)}.warn{color:var(--warn)}
.error{color:var(--bad);overflow-wrap:anywhere}
.stores{display:grid;gap:18px;grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr));
list-style:none;margin:0;padding:0}
.store{background:var(--card);border:1px solid var(--line);border-radius:14px 14px 26px 26px;
padding:18px 20px 20px;border-top:6px solid var(--good);min-width:0}
.store.connecting,.store.draining{border-top-color:var(--warn)}
.store.unavailable,.store.rejected{border-top-color:var(--bad)}
.top{display:flex;justify-content:space-between;gap:12px;align-items:baseline}
.state{font-weight:600;white-space:nowrap;color:var(--good)}
.connecting .state,.draining .state{color:var(--warn)}
.unavailable .state,.rejected .state{color:var(--bad)}
.gauge{width:100%;height:22px;margin:14px 0 10px;display:block;border-radius:11px;
background:var(--empty)}
.gauge .use{fill:var(--use)}.gauge .idle{fill:var(--idle)}.gauge .opening{fill:var(--faint)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(62px,1fr));gap:6px;margin:0}
dt{font-size:13px;color:var(--faint)}dd{margin:0;font-size:22px;font-weight:600;
font-variant-numeric:tabular-nums;line-height:1.2}
.closed{margin-top:14px;padding-top:12px;border-top:1px solid var(--line);font-size:14px}
.closed b{font-size:16px;font-variant-numeric:tabular-nums}
.store .error{margin-top:12px;padding-left:10px;border-left:3px solid;font-size:14px;
line-height:1.45}.store.ready .error{color:var(--warn)}
footer{padding:26px 20px 36px;color:var(--faint);font-size:14px}a{color:inherit}
a:focus-visible{outline:2px solid var(--use);outline-offset:3px;border-radius:3px}
.stale main{opacity:.45}.lost{display:none}.stale .lost{display:inline;color:var(--bad)}
"""

SCRIPT = """
const wait = 1000;
async function refresh() {
  if (!document.hidden) await fetched();
  setTimeout(refresh, wait);
}
async function fetched() {
  try {
    const answer = await fetch(location.href, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["words", "stores"]) {
      const shown = document.getElementById(part), fresh = page.getElementById(part);
      if (shown.innerHTML !== fresh.innerHTML) shown.innerHTML = fresh.innerHTML;
    }
    document.querySelector("header").className = page.querySelector("header").className;
    document.title = page.title;
    document.body.classList.remove("stale");
  } catch (error) {
    document.body.classList.add("stale");
  }
}
setTimeout(refresh, wait);
"""

BICYCLE = """<svg viewBox="0 0 160 100" role="img" aria-label="A bicycle with panniers">
<circle cx="34" cy="68" r="25"/><circle cx="126" cy="68" r="25"/>
<g class="spokes"><path d="M34 45v46M11 68h46M18 52l32 32M50 52L18 84"/></g>
<g class="spokes"><path d="M126 45v46M103 68h46M110 52l32 32M142 52l-32 32"/></g>
<g class="rider"><path d="M34 68l24-36h46l22 36M58 32l18 36h-42M76 68l28-36M104 32l-4-14h14"/>
<path d="M58 32l-5-12M44 20h18M20 38h32"/>
<path class="bag" d="M14 40h30a3 3 0 0 1 3 3v24a6 6 0 0 1-6 6H17a6 6 0 0 1-6-6V43a3 3 0 0 1 3-3z"/>
</g></svg>"""


ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#b4532a" d="M5 9h22'
    'a2 2 0 0 1 2 2v12a6 6 0 0 1-6 6H9a6 6 0 0 1-6-6V11a2 2 0 0 1 2-2z"/>'
    '<path fill="none" stroke="#b4532a" stroke-width="3" d="M10 9V4h12v5"/></svg>'
)
"""Without one a browser asks for /favicon.ico."""

REASONS: dict[CloseReason, str] = {
    "lifetime": "for their age",
    "broken": "broken",
    "drain": "as their backend was left",
    "shrink": "as the pool shrank",
}
"""Why connections are closed, other than for being idle."""


def hash_source(text: str) -> str:
    """The CSP source that allows exactly this inline text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


FIELDS = (
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Security-Policy: default-src 'none'; "
    f"style-src {hash_source(STYLE)}; script-src {hash_source(SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "Cache-Control: no-store\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
).encode()


def answer(status: dict[str, Any], table: StoreTable, *, follows_operator: bool) -> Answer:
    """The page for a document of /v1/status and the table it was made from."""
    stream = table.stream_connected if follows_operator else None
    return Answer(200, FIELDS, page(status, table.stores, stream).encode())


def page(status: dict[str, Any], served: dict[str, ServedStore], stream: bool | None) -> str:
    """The page's HTML; every text in it is escaped.

    `stream`: whether the operator is connected; None where there is none to connect to.
    """
    stores = status["stores"]
    ready = sum(store["state"] == "ready" for store in stores)
    rolling = " class=rolling" if stores and ready == len(stores) else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:image/svg+xml,{quote(ICON)}">'
        f"<title>Pannier: {summary(ready, len(stores))}</title>"
        f"<style>{STYLE}</style></head><body><main>"
        f"<header{rolling}>{BICYCLE}<div><h1>Pannier</h1><div id=words>"
        f"<p>{summary(ready, len(stores))}</p>{configuration(status['config'])}"
        f"{connection(stream)}</div></div></header><ul class=stores id=stores>"
        f"{''.join(card(store, served.get(store['name'])) for store in stores)}</ul></main>"
        f"<footer>Version {escape(status['version'])} · "
        '<a href="/v1/status">status</a> · <a href="/metrics">metrics</a> · '
        '<a href="/healthz">health</a> · <a href="/readyz">readiness</a> '
        "<span class=lost>· the sidecar does not answer; still trying</span></footer>"
        f"<script>{SCRIPT}</script></body></html>"
    )


def summary(ready: int, stores: int) -> str:
    """The state of everything in one sentence."""
    if not stores:
        return "No store yet: the rack is empty."
    if ready == stores:
        return "1 store is packed and ready." if stores == 1 else f"All {stores} stores are ready."
    return f"{ready} of {stores} stores {'is' if ready == 1 else 'are'} ready."


def configuration(config: dict[str, Any]) -> str:
    """Which configuration runs, since when, and what was wrong with a newer one."""
    parts = [f"Configuration: {escape(config['source'])}"]
    if config["version"]:
        parts.append(f"version {escape(config['version'][:16])}")
    if config["appliedAt"]:
        parts.append(f"applied {escape(config['appliedAt'][:19].replace('T', ' '))} UTC")
    error = f"<p class=error>{escape(config['error'])}</p>" if config["error"] else ""
    return f"<p class=faint>{', '.join(parts)}</p>{error}"


def connection(stream: bool | None) -> str:
    """Whether the operator is connected, where there is one."""
    if stream is None:
        return ""
    if stream:
        return "<p class=good>The operator is connected.</p>"
    return (
        "<p class=warn>The operator is not connected: what was configured last is served, and "
        "changes do not arrive.</p>"
    )


def card(store: dict[str, Any], served: ServedStore | None) -> str:
    """One store."""
    state, pool = escape(store["state"]), store["pool"]
    error = f"<p class=error>{escape(store['error'])}</p>" if store["error"] else ""
    if pool["max"]:
        body = gauge(pool) + (closings(served) if served is not None else "")
    elif store["type"] == "memory":
        body = "<p class=faint>No pool: it lives in memory.</p>"
    else:
        body = "<p class=faint>No pool yet.</p>"
    return (
        f'<li class="store {state}"><div class=top><h2>{escape(store["name"])}</h2>'
        f"<span class=state>{state}</span></div><p class=faint>{escape(store['type'])}</p>"
        f"{body}{error}</li>"
    )


def gauge(pool: dict[str, int]) -> str:
    """The pool as a filled bag, and its figures."""
    left = 0.0
    bars = ""
    for name, figure in (("use", "in_use"), ("idle", "idle"), ("opening", "opening")):
        width = 100 * pool[figure] / pool["max"]
        bars += f'<rect class={name} x="{left:.2f}%" width="{width:.2f}%" height="100%"/>'
        left += width
    figures = (("in use", "in_use"), ("idle", "idle"), ("waiting", "pending"), ("max", "max"))
    rows = "".join(
        f"<div{' class=warn' if name == 'pending' and pool[name] else ''}>"
        f"<dt>{label}</dt><dd>{pool[name]}</dd></div>"
        for label, name in figures
    )
    label = f"{pool['in_use']} of {pool['max']} connections in use"
    return f'<svg class=gauge role="img" aria-label="{label}">{bars}</svg><dl>{rows}</dl>'


def closings(served: ServedStore) -> str:
    """How many connections idle cleanup has closed and when it does; then the other reasons."""
    closed = PoolFigures(served).counters.closed
    others = [f"{closed[name]} {words}" for name, words in REASONS.items() if closed[name]]
    also = f"<p class=faint>Closed otherwise: {', '.join(others)}</p>" if others else ""
    settings = pools_of(served)[0].settings
    when = format_duration(settings.idle_timeout)
    return (
        f"<div class=closed><p>Idle cleanup: <b>{closed['idle']}</b> closed</p>"
        f"<p class=faint>each after {when} without use, down to {settings.min_idle}</p>{also}</div>"
    )
