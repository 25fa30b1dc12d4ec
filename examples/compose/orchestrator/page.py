"""The fleet on one plain page, for people; everything that a sidecar said is escaped."""

import html
import urllib.parse
from typing import Any

Json = dict[str, Any]

STYLE = """body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ccc;vertical-align:top}
h2{margin-bottom:0}.live,.ready{color:#060}.lost,.problem,.absent{color:#a00;font-weight:bold}small{color:#555}"""


def page(sidecars: list[Json], backups: list[Json]) -> str:
    """The whole document."""
    parts = [section(one) for one in sidecars] or ["<p>No sidecar has announced itself yet.</p>"]
    kept = table(
        ("backup", "target", "run", "size", "proof", "kept at"),
        [
            [one[name] for name in ("name", "target", "run")] + [amount(one["size"]), one["proof"], one["time"]]
            for one in backups
        ],
    )
    body = "".join(parts) + (f"<h2>Backups kept here</h2>{kept}" if backups else "<p>No backup is kept here yet.</p>")
    head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="15"><title>Backups</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>Backup sidecars</h1>{body}</body></html>'


def section(sidecar: Json) -> str:
    """One sidecar: its lease, its verdict, problems, targets."""
    lease, rows = sidecar["lease"], []
    for target in sidecar["targets"]:
        good = target.get("last_good") or {}
        address = f"/sidecars/{sidecar['id']}/backup?target={urllib.parse.quote(target['key'], safe='')}"
        button = f'<form method="post" action="{html.escape(address)}"><button>Back up</button></form>'
        running = [run for run in sidecar["running"] if run["key"] == target["key"]]
        state = f"{target['state']}, running: {amount(running[0]['bytes'])}" if running else target["state"]
        last = f"{good['finished']} ({amount(good['size'])}, proof {good['proof']})" if good else "none yet"
        rows.append([target["key"], target["strategy"], Raw(mark(target["state"], state)), last, Raw(button)])
        rows += [["", "", Raw(trouble(problem)), "", ""] for problem in target["problems"]]
    problems = "".join(f"<p>{trouble(problem)}</p>" for problem in sidecar["problems"])
    state = f"{lease['state']}, {lease['seconds_left']} s left" if lease["state"] == "live" else "lost"
    facts = html.escape(f"{sidecar['url']} · version {sidecar['versions'].get('sidecar')} · seen {sidecar['seen']}")
    head = f"<h2>{html.escape(sidecar['id'])} {mark(lease['state'], state)}</h2><small>{facts}</small>"
    return (
        head
        + verdict(sidecar.get("freshness"))
        + problems
        + table(("target", "strategy", "state", "last good run", ""), rows)
    )


def verdict(told: Any) -> str:
    """What `status` says there; earlier sidecars tell less."""
    if not isinstance(told, dict):
        return ""
    return f"<p>{mark('live' if told.get('safe') is True else 'problem', str(told.get('verdict', '')))}</p>"


class Raw(str):
    """HTML that is not to be escaped."""


def table(heads: tuple[str, ...], rows: list[list[Any]]) -> str:
    def cell(value: Any) -> str:
        return f"<td>{value if isinstance(value, Raw) else html.escape(str(value))}</td>"

    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{body}</table>"


def mark(kind: str, text: str) -> str:
    return f'<span class="{html.escape(kind)}">{html.escape(text)}</span>'


def trouble(problem: Json) -> str:
    return mark("problem", f"{problem['place']}: {problem['message']} [{problem['code']}] {problem['hint']}")


def amount(size: int) -> str:
    return next(
        (f"{size / 1024**n:.1f} {unit}" for n, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")) if size >= 1024**n),
        f"{size} B",
    )
