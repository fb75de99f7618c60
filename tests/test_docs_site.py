"""The docs site: its navigation and reference are complete, its check finds dead links, and it builds."""

import importlib
import re
import runpy
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY
from tests.helpers.browser import opened_browser

SITE = REPOSITORY / "docs" / "site"
API = SITE / "api"
NAVIGATION = runpy.run_path(str(SITE / "navigation.py"))
CHECK = runpy.run_path(str(SITE / "check_site.py"))
PUBLIC = ("bakeoff", "data", "evaluation", "inference", "layers", "losses", "modeling", "reporting", "statistics")

# Exported for other parts of lt_det and for checkpoints, not for a project.
NOT_DOCUMENTED = {"MiniBackbone", "TimmBackbone", "TimmHandler", "name_in_checkpoint", "register_builtin"}


def test_every_page_is_in_the_navigation_once():
    files = [file for folder in ("docs", "docs/losses", "zoo") for file in (REPOSITORY / folder).glob("*.md")]
    pages = [file.relative_to(REPOSITORY).with_suffix("").as_posix() for file in files]
    assert sorted(NAVIGATION["pages"]()) == sorted([*pages, "docs/site/api/index", "CHANGELOG", "CONTRIBUTING"])


def test_losses_are_in_the_order_of_their_table():
    table = (REPOSITORY / "docs" / "losses.md").read_text()
    linked = re.findall(r"^\| \[\w+\]\((losses/\w+)\.md\)", table, re.MULTILINE)
    assert NAVIGATION["BELOW"]["docs/losses"] == [f"docs/{page}" for page in dict.fromkeys(linked)]


def test_every_page_of_the_reference_is_in_its_index():
    listed = re.findall(r"<(\w+)>$", (API / "index.rst").read_text(), re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(file.stem for file in API.glob("*.rst"))


@pytest.mark.parametrize("package", ["lt_det", *(f"lt_det.{name}" for name in (*PUBLIC, "training"))])
def test_every_exported_name_is_in_the_reference(package):
    entries = re.findall(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)$", "".join(f.read_text() for f in API.glob("*.rst")), re.M)
    documented = {entry.rpartition(".")[2] for entry in entries}
    module = importlib.import_module(package)
    for name in set(getattr(module, "__all__", ())) - NOT_DOCUMENTED - {"__version__"}:
        value = getattr(module, name)
        assert name in documented or getattr(value, "__name__", None) in documented, name  # or another name of it


def write_site(folder, **pages):
    for name, content in pages.items():
        (folder / name.replace("_", ".")).write_text(content)
    return CHECK["problems"](folder)


def test_dead_links_and_fetched_files_are_found(tmp_path):
    found, external = write_site(
        tmp_path,
        a_html="<a href='b.html#there'></a> <a href='b.html#gone'></a> <a href='c.html'></a> <a href='#top'></a>",
        b_html="<p id='there'><a href='https://example.com'></a> <img src='a.png'><script src='//cdn/x.js'></script>",
        x_css="@import 'https://example.com/y.css'; a { background: url(data:image/png;base64,) } /* url(gone) */",
    )
    assert [line.partition(": ")[::2] for line in found] == [
        ("a.html", "there is no anchor b.html#gone"),
        ("a.html", "there is no c.html"),
        ("a.html", "there is no anchor #top"),
        ("b.html", "fetches //cdn/x.js"),
        ("b.html", "there is no a.png"),
        ("x.css", "fetches https://example.com/y.css"),
    ]
    assert external == {"https://example.com": ["b.html"]}


def test_a_complete_site_has_no_problem(tmp_path):
    assert write_site(tmp_path, a_html="<h1 id='top'><a href='#top'>", b_html="<a href='a.html#top'>") == ([], {})
    assert CHECK["main"]([str(tmp_path)]) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as `make docs` does."""
    pytest.importorskip("myst_parser", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", str(SITE)]
    command += ["--doctree-dir", str(folder / "doctrees"), str(REPOSITORY), str(folder / "html")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.long
def test_the_site_has_no_dead_link_and_fetches_nothing(site):
    assert CHECK["problems"](site)[0] == []


@pytest.mark.long
def test_pages_have_equations_files_and_search(site):
    page = (site / "docs" / "losses" / "eql.html").read_text()
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in page
    assert 'href="../../configs/lvis_eql.yaml.html"' in page
    assert "LOSS" in (site / "configs" / "lvis_eql.yaml.html").read_text()
    assert "eql.py" in (site / "lt_det" / "losses" / "index.html").read_text()
    assert "seesaw" in (site / "searchindex.js").read_text()
    assert (site / "index.html").read_text() == (site / "README.html").read_text()


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(site, width):
    """No request beside files, no message, and no page wider than the window."""
    problems = []
    with opened_browser() as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(("file:", "data:")) else 0)
        page.on("requestfailed", lambda sent: problems.append(sent.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        for file in sorted(site.rglob("*.html")):
            page.goto(file.as_uri())
            if page.evaluate("document.documentElement.scrollWidth") > width:
                problems.append(f"{file} is wider than {width}")
        page.goto((site / "search.html").as_uri() + "?q=seesaw")
        page.wait_for_selector("#search-results li a")
    assert problems == []
