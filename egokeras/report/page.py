"""The parts of a self-contained HTML page: no script, no outside file, light and dark, phone and paper.

Every text goes through `text`, which escapes whatever is not `Html` already.
"""

import base64
import html

STYLE = """
:root{--ink:#1b2027;--soft:#5c6673;--line:#e2e6eb;--back:#fff;--card:#f6f8fa;--accent:#2563eb;--good:#15803d;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#98a3b0;--line:#2c333c;--back:#14171b;--card:#1c2026;--accent:#7aa9ff;
--good:#5ac37d;--bad:#ff8a7a}}
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
Arial,sans-serif}
main{max-width:980px;margin:0 auto;padding:40px 24px 64px}
.kind{margin:0;color:var(--soft);font-size:13px}
h1{margin:2px 0 8px;font-size:30px;line-height:1.2;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{margin:52px 0 12px;padding-top:16px;border-top:1px solid var(--line);font-size:21px;line-height:1.3}
h3{margin:26px 0 8px;font-size:16px;line-height:1.35}
p{margin:8px 0;max-width:72ch}
.lead{font-size:17px}
.note,figcaption{color:var(--soft);font-size:13.5px}
nav{margin:18px 0 0;font-size:14px;display:flex;flex-wrap:wrap;gap:4px 18px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{background:var(--card);border-radius:4px;padding:1px 5px;overflow-wrap:anywhere}
pre{background:var(--card);border-radius:8px;padding:14px 16px;overflow-x:auto}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0 0}
.tile{background:var(--card);border-radius:10px;padding:12px 16px}
.tile b{display:block;font-size:26px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:13px;color:var(--soft);line-height:1.4}
.wide{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:14px}
th,td{padding:5px 14px 5px 0;text-align:left;vertical-align:baseline}
th{font-weight:600}thead th{color:var(--soft);font-weight:500;font-size:13px;border-bottom:1px solid var(--line);white-space:nowrap}
tbody tr+tr>*{border-top:1px solid var(--line)}
tbody.group+tbody.group tr:first-child>*{border-top:1px solid var(--line)}
tbody.group tr+tr>*{border-top:0;padding-top:0;color:var(--soft)}
.n+:not(.n){padding-left:22px}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding:5px 0 5px 16px}
.good{color:var(--good)}.bad{color:var(--bad)}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,270px),1fr));gap:20px 28px}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:22px 40px}
figure{margin:0;min-width:0}
figure svg{display:block;width:100%;height:auto}
svg text{font-family:inherit!important}
figure h4{margin:0 0 2px;font-size:14px;font-weight:600}
figcaption{margin-top:6px;overflow-wrap:anywhere}figcaption strong{color:var(--ink)}strong{font-weight:650}
.clip img{display:block;width:100%;height:auto;border-radius:6px;background:var(--card)}
.picture{width:var(--width);max-width:100%}
.pairs{display:flex;flex-wrap:wrap;gap:4px 36px;align-items:flex-start}
.pairs>*{min-width:0;max-width:100%}
details{margin:12px 0}
summary{cursor:pointer;color:var(--accent);padding:4px 0}
@media(max-width:560px){main{padding:24px 16px 48px}h1{font-size:25px}.n{padding-left:12px}.tile b{font-size:22px}
.tiles{grid-template-columns:1fr 1fr}}
@media print{main{max-width:none;padding:0}nav{display:none}h2{break-after:avoid}figure,tr,.tile{break-inside:avoid}
.wide,pre{overflow:visible}pre{white-space:pre-wrap}details::details-content{content-visibility:visible;display:block;height:auto}}
"""


class Html(str):
    """Markup that is safe as it is."""


BREAK = Html("<br>")


def text(value):
    """`value` as markup: escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(*parts, between=""):
    """Parts one after another, each through `text`."""
    return Html(text(between).join(text(part) for part in parts))


def element(tag, *parts, **attributes):
    """An element; the attribute `kind` is its class."""
    names = {"kind": "class"}
    written = "".join(f' {names.get(name, name)}="{html.escape(str(value))}"' for name, value in attributes.items())
    return Html(f"<{tag}{written}>{join(*parts)}</{tag}>")


def paragraph(*parts, kind=None):
    """A paragraph; `kind` is `lead` or `note`."""
    return element("p", *parts, kind=kind) if kind else element("p", *parts)


def code(value):
    """A command or a name."""
    return element("code", value)


def strong(value):
    """What counts most in its place."""
    return element("strong", value)


def pre(value):
    """Text that keeps its lines."""
    return element("pre", value)


def navigation(links):
    """Links to sections: (anchor, title) pairs."""
    return element("nav", *(element("a", title, href=f"#{anchor}") for anchor, title in links))


def section(name, title, *parts):
    """A section that the navigation can jump to."""
    return element("section", element("h2", title), *parts, id=name)


def details(summary, *parts):
    """A part that is closed until somebody opens it."""
    return element("details", element("summary", summary), *parts)


def block(*parts):
    """Parts that belong together, as one thing beside others."""
    return element("div", *parts)


def beside(*blocks):
    """Blocks next to each other as far as there is room."""
    return element("div", *blocks, kind="pairs")


def tile(value, *lines):
    """A key figure with the lines under it."""
    return element("div", element("b", value), *(element("span", line) for line in lines), kind="tile")


def table(columns, *groups, caption=""):
    """A table.

    Args:
        columns: headings; one that begins with `#` is of numbers, aligned to the right.
        groups: lists of rows; each list is set apart from the next. A row's first cell is its heading.
        caption: what the table shows.
    """
    numeric = [column.startswith("#") for column in columns]
    heading = join(*(element("th", column.lstrip("#"), scope="col", **_numbers(n)) for column, n in zip(columns, numeric, strict=True)))
    kind = {"kind": "group"} if len(groups) > 1 else {}
    bodies = [element("tbody", *(_row(row, numeric) for row in rows), **kind) for rows in groups]
    body = element("table", element("thead", element("tr", heading)), *bodies)
    return join(paragraph(caption, kind="note") if caption else "", element("div", body, kind="wide", tabindex=0))


def _row(cells, numeric):
    tags = ["th", *["td"] * (len(cells) - 1)]
    return element("tr", *(element(tag, cell, **_numbers(n)) for tag, cell, n in zip(tags, cells, numeric, strict=True)))


def _numbers(numeric):
    return {"kind": "n"} if numeric else {}


def picture(jpeg, width, height, description):
    """A JPEG inside the page."""
    data = base64.b64encode(jpeg).decode()
    return Html(
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{html.escape(description)}" loading="lazy">'
    )


def figure(content, *caption, title="", kind="picture", width=640):
    """A picture with a title above and a caption under it, at most `width` pixels wide."""
    above = element("h4", title) if title else Html("")
    below = element("figcaption", *caption) if caption else Html("")
    return element("figure", above, content, below, kind=kind, style=f"--width:{width}px")


def document(title, *parts):
    """The whole page."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{join(*parts, between=chr(10))}</main></body></html>\n'
