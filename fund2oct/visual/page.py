"""A page of Markdown as one HTML file that needs nothing else: its pictures are inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

_TYPES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --muted: #5f6368; --line: #d9dce0;
  --shade: #f5f6f8; --link: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #111417; --ink: #e8eaed; --muted: #a7adb3;
  --line: #343a40; --shade: #1b2025; --link: #56b4e9; } }
body { margin: 0 auto; max-width: 84rem; padding: 1rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; margin: 2.2em 0 .6em; } h1 { margin-top: .6em; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .25em; }
p, ul { max-width: 46rem; } a { color: var(--link); }
code { background: var(--shade); border-radius: 3px; padding: .1em .3em; font-size: .9em;
  overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1em 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .4em .7em; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { background: var(--shade); color: var(--muted); font-weight: 600; vertical-align: bottom;
  white-space: normal; min-width: 4.5em; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); text-align: left; }
th:first-child { background: var(--shade); }
figure { margin: 1.4em 0; } figcaption { color: var(--muted); font-size: .9rem; margin-top: .4em; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
@media (max-width: 40rem) { th:first-child, td:first-child { white-space: normal; min-width: 7.5rem; }
  figure img { max-width: none; width: 56rem; } figure { overflow-x: auto; } }
"""


def write_page(path: Path | str, markdown: str, pictures: Mapping[str, bytes]) -> Path:
    """Write Markdown as a page in HTML with the pictures inside, for light and dark screens of any width.

    Wide tables scroll by themselves. HTML in the Markdown is shown as it is written, not obeyed: names of
    eyes and files come from anywhere.

    Args:
        path: the page.
        markdown: CommonMark with tables; its first heading is the page's title.
        pictures: what the files hold that its pictures name.

    Returns:
        The path.

    Raises:
        ValueError: if the Markdown names a picture that is not given.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "page.html"
        >>> "<h1>Eyes</h1>" in write_page(path, "# Eyes", {}).read_text()
        True
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("paragraph_open", _paragraph("<p>", "<figure>"))
    parser.add_render_rule("paragraph_close", _paragraph("</p>\n", "</figure>\n"))
    # An arrow that says which way is better stays with the last word of its column's title.
    tokens = parser.parse(markdown.replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓"))
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                _embed(child, pictures, path)
    titles = [after.content for token, after in pairwise(tokens) if token.tag == "h1" and token.nesting > 0]
    body = parser.renderer.render(tokens, parser.options, {})
    title = html.escape(titles[0] if titles else "Report")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def picture(name: str, caption: str) -> str:
    """A picture in Markdown, by its file's name, for a paragraph of its own.

    Example:
        >>> picture("eye.png", "the eye [1]")
        '![the eye \\\\[1\\\\]](<eye.png>)'
    """
    escaped = "".join(f"\\{letter}" if letter in "\\[]*_`<&!" else letter for letter in caption)
    return f"![{escaped}](<{name}>)"


def _embed(image: Token, pictures: Mapping[str, bytes], path: Path | str) -> None:
    name = unquote(str(image.attrs["src"]))
    if name not in pictures:
        raise ValueError(f"{path}: expected the picture {name!r}, found {', '.join(pictures) or 'none'}")
    data = base64.b64encode(pictures[name]).decode()
    image.attrs["src"] = f"data:{_TYPES[Path(name).suffix.lower()]};base64,{data}"
    # As one text: early releases of the parser leave the escaped letters of a caption out.
    caption = "".join(" " if child.type == "softbreak" else child.content for child in image.children or [])
    image.children = [Token("text", "", 0, content=caption)]


def _paragraph(usual: str, of_picture: str) -> Any:
    """A paragraph that is a picture and nothing else becomes a figure with its caption."""

    def render(self: Any, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
        opening = tokens[number].nesting > 0
        inline = tokens[number + 1 if opening else number - 1]
        if tokens[number].hidden:
            return ""
        if [child.type for child in inline.children or []] != ["image"]:
            return usual
        if opening:
            return of_picture
        caption = self.renderInlineAsText(inline.children, options, env)
        return f"<figcaption>{html.escape(caption)}</figcaption>{of_picture}"

    return render
