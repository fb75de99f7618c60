"""Checks the pages of a built docs site: every link leads somewhere, and nothing is fetched from a network.

    python docs/site/check_site.py SITE      exit code 1 if a link is dead or a page fetches something

Links to other sites are only counted: `--external` lists them, because checking them needs a network.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {"img": "src", "script": "src", "source": "srcset", "iframe": "src", "video": "src", "link": "href"}
_CSS_ADDRESS = re.compile(r"(?:url\(|@import\s+)['\"]?([^'\")\s;]+)")


@dataclass
class Page(HTMLParser):
    """The addresses and anchors of a page, or the addresses of a style sheet."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif _FETCHED.get(tag) in values:
            self.fetched.append(values[_FETCHED[tag]])


def read_page(file: Path) -> Page:
    page = Page()
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".css":
        page.fetched += _CSS_ADDRESS.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    else:
        page.feed(text)
    return page


def _is_remote(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def problems(site: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Dead links and fetched addresses, one line each; and the pages that link to each external address."""
    pages = {file: read_page(file) for file in sorted([*site.rglob("*.html"), *site.rglob("*.css")])}
    found: list[str] = []
    external: dict[str, list[str]] = {}
    for file, page in pages.items():
        name = str(file.relative_to(site))
        remote = [address for address in page.fetched if _is_remote(address)]
        found += [f"{name}: fetches {address}" for address in remote]
        for address in [*page.links, *page.fetched]:
            parts = urlsplit(address)
            if address in remote or parts.scheme == "data":
                continue
            if _is_remote(address):
                external.setdefault(address, []).append(name)
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file():
                found.append(f"{name}: there is no {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: there is no anchor {address}")
    return found, external


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--external", action="store_true", help="list the links to other sites, and where they are")
    args = parser.parse_args(arguments)
    site = args.site.resolve()
    found, external = problems(site)
    for address, names in sorted(external.items()) if args.external else ():
        print(f"{address}  {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    print("\n".join([*found, f"{len(found)} problems, {len(external)} links to other sites"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
