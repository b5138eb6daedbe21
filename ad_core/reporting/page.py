"""Pieces of a self-contained HTML page: style, tables, figures, pictures.

Nothing is fetched: pictures are data addresses, fonts are the system's, and the page's own
content policy forbids scripts and every other origin.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ad_core.reporting.svg import show
from ad_core.scoring.pictures import data_uri

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PIXELATED_BELOW = 128  # small pictures are enlarged without inventing anything between pixels

STYLE = """
:root{--ink:#1b2126;--soft:#59636b;--rule:#d4dadd;--faint:#f4f6f7;--normal:#0072b2;--abnormal:#b84708}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;color:var(--ink);background:#fff;font:15px/1.5 system-ui,-apple-system,"Segoe UI",
"Liberation Sans",Arial,sans-serif;font-variant-numeric:tabular-nums}
.page{max-width:1180px;margin:0 auto;padding:0 28px 64px}
a{color:inherit;text-underline-offset:3px;text-decoration-color:var(--rule)}
a:hover{text-decoration-color:currentColor}
:focus-visible{outline:2px solid var(--normal);outline-offset:2px}
.skip{position:absolute;left:-99em}.skip:focus{left:8px;top:8px;background:#fff;padding:4px 8px}
header{padding:30px 0 18px}
.kind{margin:0;color:var(--soft);font-size:13px}
h1{margin:2px 0 0;font-size:28px;line-height:1.2;font-weight:650;letter-spacing:-.01em;
overflow-wrap:anywhere}
nav{position:sticky;top:0;z-index:1;background:#fff;border-bottom:1px solid var(--ink);
border-top:1px solid var(--rule);font-size:13px;overflow-x:auto;white-space:nowrap}
nav a{display:inline-block;padding:8px 16px 8px 0;text-decoration:none;color:var(--soft)}
nav a:hover,nav a:focus{color:var(--ink)}
section{display:grid;grid-template-columns:176px minmax(0,1fr);column-gap:36px;
padding:26px 0 30px;border-bottom:1px solid var(--rule);scroll-margin-top:36px}
section>*{min-width:0}
h2{margin:0;font-size:16px;line-height:1.35;font-weight:650}
h3{margin:26px 0 8px;font-size:14px;font-weight:650}
section>div>:first-child,.plots h3{margin-top:0}
p{margin:0 0 11px;max-width:68ch}
.note,figcaption,caption{color:var(--soft);font-size:13px;line-height:1.45}
.lead{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:8px 48px;align-items:start}
.verdict{font-size:23px;line-height:1.32;font-weight:500;letter-spacing:-.008em;margin:0 0 14px;
max-width:30em}
.bad{color:var(--abnormal)}
.promise{border-left:3px solid var(--ink);padding:1px 0 1px 14px;margin:16px 0 12px}
.promise p:last-child{margin:0}
.outcome{border-collapse:collapse}
.outcome caption{caption-side:bottom;text-align:left;padding-top:8px;max-width:330px}
.outcome th{font-weight:400;font-size:13px;color:var(--soft);padding:4px 12px 4px 0;text-align:left}
.outcome thead th{padding:4px 14px}
.outcome td{border:1px solid var(--rule);padding:8px 14px 9px;min-width:112px;vertical-align:top}
.outcome .blank{border:0}
.outcome b{display:block;font-size:31px;line-height:1.15;font-weight:600;letter-spacing:-.02em}
.outcome small{font-size:12.5px;color:var(--soft)}
.outcome .hot{background:#fdeee4;border-color:var(--abnormal)}
.outcome .hot b,.outcome .hot small{color:var(--abnormal)}
.wide{overflow-x:auto;margin:0 0 12px}
table.data{border-collapse:collapse;width:100%;font-size:14px}
.data th,.data td{padding:5px 18px 5px 0;text-align:right;vertical-align:top;white-space:nowrap;
border-bottom:1px solid var(--rule)}
.data thead th{font-weight:400;font-size:13px;line-height:1.3;color:var(--soft);
vertical-align:bottom;white-space:normal;border-bottom-color:var(--ink)}
.data th:first-child,.data td:first-child{text-align:left}
.data th:last-child,.data td:last-child{padding-right:0}
.data tbody th{font-weight:500;white-space:normal}
.data .words{text-align:left;white-space:normal}
.data .chosen>*{background:var(--faint);box-shadow:inset 3px 0 0 var(--faint)}
.data .chosen>:first-child{box-shadow:inset 3px 0 0 var(--ink);padding-left:10px}
.narrow table.data{width:auto;min-width:46%}
dl{margin:0}dl.rules{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 18px;
font-size:14px;max-width:86ch}dt{font-weight:500}dd{margin:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));
gap:22px 36px}
.curves{grid-template-columns:repeat(auto-fill,minmax(min(100%,270px),1fr));gap:14px 28px}
figure{margin:0;break-inside:avoid}
svg{display:block;width:100%;height:auto}
figcaption{margin:6px 0 0}
.bar{max-width:460px;margin:4px 0 20px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));
gap:24px 32px;margin:0;padding:0;list-style:none}
.cards li{break-inside:avoid}
.cards img,.samples img{display:block;width:100%;height:auto}
.small img{image-rendering:pixelated}
.panels{display:grid;grid-template-columns:repeat(3,1fr);font-size:12px;color:var(--soft);
margin-bottom:3px}
.what{display:flex;gap:4px 14px;flex-wrap:wrap;justify-content:space-between;margin:5px 0 0;
font-size:13px}
.why{margin:3px 0 0;padding:0;list-style:none;font-size:12.5px;color:var(--soft)}
.large{grid-column:1/-1;max-width:820px}
.what code{overflow-wrap:anywhere;color:var(--soft)}
code,pre{font:12.5px/1.5 ui-monospace,"Cascadia Mono","Segoe UI Mono","Liberation Mono",Menlo,
monospace}
pre{margin:8px 0 0;padding:12px 14px;background:var(--faint);overflow-x:auto}
summary{cursor:pointer;font-weight:500;padding:4px 0}
.samples{margin:0 0 18px}
@media(max-width:900px){section{display:block}section>h2{margin-bottom:12px}
.lead{display:block}.outcome{margin-top:20px}}
@media(max-width:560px){.page{padding:0 16px 48px}h1{font-size:23px}.verdict{font-size:20px}
.outcome{width:100%}.outcome td{min-width:0;padding:8px 10px}.outcome th{padding:4px 8px 4px 0}
dl.rules{display:block}dd{margin:0 0 8px}.data th,.data td{padding-right:14px}}
@media print{@page{margin:15mm}body{font-size:10.5pt}nav,.skip{display:none}
.page{max-width:none;padding:0}section{display:block;padding:12pt 0}section>h2{margin-bottom:8pt;
break-after:avoid}h3{break-after:avoid}.lead,.wide,tr{break-inside:avoid}.wide{overflow:visible}
.plots,.cards{grid-template-columns:1fr 1fr}.curves{grid-template-columns:1fr 1fr 1fr}
pre{white-space:pre-wrap;overflow-wrap:anywhere}*{print-color-adjust:exact;
-webkit-print-color-adjust:exact}}
"""


class Example(NamedTuple):
    """One image to look at: its path in the data set, its kind, its score, a picture, and why."""

    path: str
    defect: str
    score: float
    picture: UInt8[np.ndarray, "_ _ 3"]
    reasons: tuple[str, ...] = ()


def document(title: str, body: str, *, skip: str = "Skip to the decision") -> str:
    """The whole page; `body` is HTML, the title plain text. `skip` is the first link."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{show(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">{show(skip)}</a>\n'
        f'<div class="page">\n{body}\n</div>\n</body>\n</html>\n'
    )


def section(name: str, heading: str, *content: str) -> str:
    """A section with its heading in the margin; empty if all its content is."""
    inside = "\n".join(part for part in content if part)
    if not inside:
        return ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-heading">\n'
        f'<h2 id="{name}-heading">{show(heading)}</h2>\n<div>\n{inside}\n</div>\n</section>'
    )


def paragraph(content: str, *, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{show(content)}</p>' if kind else f"<p>{show(content)}</p>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    chosen: int | None = None,
    kind: str = "wide",
) -> str:
    """Plain cells, the first of each row its heading; a second and last one spans the rest.

    Args:
        chosen: the row to mark. kind: "wide" fills the width, "wide narrow" only what it needs.
    """
    top = "".join(f'<th scope="col">{show(cell)}</th>' for cell in head)
    lines = []
    for place, (first, *rest) in enumerate(rows):
        cells = [f"<td>{show(cell)}</td>" for cell in rest]
        if len(rest) == 1 < len(head) - 1:
            cells = [f'<td class="words" colspan="{len(head) - 1}">{show(rest[0])}</td>']
        mark = ' class="chosen"' if place == chosen else ""
        lines.append(f'<tr{mark}><th scope="row">{show(first)}</th>{"".join(cells)}</tr>')
    return (
        f'<p class="note">{show(caption)}</p>'
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{show(caption)}">'
        f'<table class="data"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(svg: str, caption: str = "", *, large: bool = False) -> str:
    """A drawn figure and what to see in it; a large one has a row for itself."""
    below = f"<figcaption>{show(caption)}</figcaption>" if caption else ""
    kind = ' class="large"' if large else ""
    return f"<figure{kind}>{svg}{below}</figure>"


def image(picture: UInt8[np.ndarray, "h w 3"], alt: str) -> str:
    """A picture that the page carries in itself."""
    height, width, _ = picture.shape
    return f'<img src="{data_uri(picture)}" alt="{show(alt)}" width="{width}" height="{height}">'


def _scored(score: float) -> str:
    return f"score <b>{score:.4g}</b>" if np.isfinite(score) else "<b>no score</b>"


def _reasons(reasons: Sequence[str]) -> str:
    lines = "".join(f"<li>{show(reason)}</li>" for reason in reasons)
    return f'<ul class="why">{lines}</ul>' if lines else ""


def cards(examples: Sequence[Example], words: str) -> str:
    """Image | reconstruction | map of each example, with its score and path."""
    items = []
    for example in examples:
        small = ' class="small"' if example.picture.shape[0] < _PIXELATED_BELOW else ""
        alt = f"{words} {example.path}: image, reconstruction, anomaly map over the image"
        items.append(
            f'<li{small}><div class="panels" aria-hidden="true"><span>image</span>'
            "<span>reconstruction</span><span>anomaly map</span></div>"
            f"{image(example.picture, alt)}"
            f'<p class="what"><span>{_scored(example.score)}, {show(example.defect)}</span>'
            f"<code>{show(example.path)}</code></p>{_reasons(example.reasons)}</li>"
        )
    return f'<ol class="cards">{"".join(items)}</ol>' if items else ""
