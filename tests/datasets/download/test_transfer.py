"""Downloads over connections and from servers that fail."""

import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from lt_det.datasets.download import http_response
from lt_det.datasets.download.transfer import DELAYS, download
from lt_det.errors import LtDetError
from tests.helpers import free_port

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = '"first"'


@pytest.fixture
def url(server):
    server.files["/a.zip"] = CONTENT
    server.tags["/a.zip"] = TAG
    return f"{server.url}/a.zip"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "new" / "a.zip"


def parts(file):
    return sorted(path.name for path in file.parent.iterdir())


def interrupt(url, file, report, server, received):
    """Receive the first bytes of a file, and end the process at once: no cleanup."""
    server.stalls, report.received, report.interrupt_at = received, 0, received
    with pytest.raises(KeyboardInterrupt):
        download(url, file, report)
    assert parts(file) == ["a.zip.part", "a.zip.part.json"]
    server.stalls, report.received, report.interrupt_at = None, 0, None
    server.requests.clear()


def test_file_is_downloaded_and_verified(url, file, report):
    download(url, file, report, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert parts(file) == ["a.zip"]
    assert report.started == [("a.zip", len(CONTENT), 0), ("a.zip: checksum", len(CONTENT), 0)]
    assert report.received == 2 * len(CONTENT)


def test_without_published_size_the_server_says_it(url, file, report):
    download(url, file, report)
    assert report.started == [("a.zip", len(CONTENT), 0)]


def test_reset_connections_are_continued(url, file, report, server):
    server.cuts, server.resets = [1_000_000, 1_000_000, 0], True
    download(url, file, report, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert len(server.requests) == 4
    assert server.starts() == sorted(server.starts())
    assert server.starts()[-1] > 0


def test_truncated_responses_are_continued(url, file, report, server, waits):
    server.cuts = [1_000_000, 1_000_000, 0, 0]
    download(url, file, report, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert server.starts() == [0, 1_000_000, 2_000_000, 2_000_000, 2_000_000]
    assert [headers.get("If-Range") for _, headers in server.requests] == [None, TAG, TAG, TAG, TAG]
    assert waits == [DELAYS[0], DELAYS[0], *DELAYS[1:3]]  # longer only while nothing is received


def test_interrupted_download_continues(url, file, report, server):
    interrupt(url, file, report, server, 1_200_000)
    download(url, file, report)
    assert file.read_bytes() == CONTENT
    assert server.starts() == [1_200_000]
    assert report.received == len(CONTENT) - 1_200_000


@pytest.mark.parametrize("obeys", [True, False])
def test_another_file_is_not_appended_to_the_part(url, file, report, server, obeys):
    interrupt(url, file, report, server, 1_200_000)
    server.files["/a.zip"] = other = CONTENT[::-1]
    server.tags["/a.zip"], server.obeys_if_range = '"second"', obeys
    download(url, file, report)
    assert file.read_bytes() == other


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_part_that_nothing_identifies_is_continued_only_if_a_checksum_will_find_a_mistake(
    url, file, report, server, tag
):
    server.tags["/a.zip"] = tag
    interrupt(url, file, report, server, 1_200_000)
    server.cuts = [100]
    download(url, file, report)
    assert server.starts() == [0, 0]
    assert file.read_bytes() == CONTENT
    file.unlink()
    interrupt(url, file, report, server, 1_200_000)
    download(url, file, report, len(CONTENT), SHA256)
    assert server.starts() == [1_200_000]
    assert file.read_bytes() == CONTENT


def test_part_of_another_address_is_not_continued(url, file, report, server):
    interrupt(url, file, report, server, 1_200_000)
    server.files["/mirror/a.zip"] = other = CONTENT[::-1]
    download(f"{server.url}/mirror/a.zip", file, report)
    assert server.starts() == [0]
    assert file.read_bytes() == other


@pytest.mark.parametrize("origin", [None, "", "[]", '{"url": 1}', '{"url": "URL"}'])
def test_part_of_unknown_origin_is_not_continued(url, file, report, server, origin):
    file.parent.mkdir()
    file.with_name("a.zip.part").write_bytes(b"0" * 100)
    if origin is not None:
        file.with_name("a.zip.part.json").write_text(origin.replace("URL", url))
    download(url, file, report, len(CONTENT), SHA256)
    assert server.starts() == [0]


def test_complete_part_needs_no_request(url, file, report, server):
    interrupt(url, file, report, server, len(CONTENT))
    download(url, file, report)
    assert server.requests == []
    assert file.read_bytes() == CONTENT


def test_part_that_is_longer_than_the_file(url, file, report, server):
    interrupt(url, file, report, server, 1_200_000)
    server.files["/a.zip"], server.tags["/a.zip"] = CONTENT[:100], TAG
    download(url, file, report)
    assert file.read_bytes() == CONTENT[:100]


def test_server_without_ranges(url, file, report, server):
    server.ranges, server.cuts = False, [1_000_000]
    download(url, file, report, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert server.starts()[1] == 1_000_000  # asked for, but not obeyed
    assert any("first byte" in sentence for sentence in report.sentences)


def test_server_without_ranges_that_always_fails_at_the_same_byte(url, file, report, server):
    server.ranges, server.cuts = False, [1_000_000] * 99
    with pytest.raises(LtDetError, match=r"failed \d+ times in a row.*1 MB are kept"):
        download(url, file, report)
    assert len(server.requests) == len(DELAYS) + 1


def test_server_that_does_not_say_the_length(url, file, report, server):
    server.sends_length, server.cuts = False, [1_000_000]
    download(url, file, report, len(CONTENT), SHA256)  # the published size shows that the answer was truncated
    assert file.read_bytes() == CONTENT
    assert server.starts() == [0, 1_000_000]


@pytest.mark.parametrize(
    "said", ["bytes */*", "bytes", "items 0-1/2", "bytes {start}-{end}", "bytes 1-2/" + "9" * 5000]
)
def test_part_without_its_position_is_not_taken_for_the_file(url, file, report, server, said):
    server.cuts, server.content_range = [1_000_000], said
    download(url, file, report)
    assert file.read_bytes() == CONTENT
    assert server.starts() == [0, 1_000_000, 0]


def test_part_without_its_position_that_was_not_asked_for(url, file, report, server):
    server.errors = [(206, {}) for _ in range(len(DELAYS) + 1)]
    with pytest.raises(LtDetError, match=r"Content-Range"):
        download(url, file, report)
    assert not file.exists()


def test_server_that_does_not_say_the_length_of_the_file_with_a_part(url, file, report, server):
    """The first answer did; a range that is cut off is continued, too."""
    server.cuts, server.content_range = [1_000_000, 1_000_000], "BYTES {start}-{end}/*"
    download(url, file, report)
    assert file.read_bytes() == CONTENT
    assert server.starts() == [0, 1_000_000, 2_000_000]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server(url, file, report, server, waits, status):
    server.errors = [(status, {"Retry-After": "7"}), (status, {"Retry-After": "9999"}), (status, {})]
    download(url, file, report)
    assert file.read_bytes() == CONTENT
    assert waits == [7, 60, DELAYS[2]]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_not_tried_again(url, file, report, server, waits, status):
    server.errors = [(status, {})]
    with pytest.raises(LtDetError, match=rf"a\.zip.* {status} "):
        download(url, file, report)
    assert waits == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1/a b.zip", "http://127.0.0.1/ä.zip", "http://127.0.0.1:x/a.zip"])
def test_invalid_address_is_not_tried_again(address, file, report, waits):
    with pytest.raises(LtDetError, match=re.escape(address)):
        download(address, file, report)
    assert waits == []


def test_no_network(file, report, waits):
    with pytest.raises(LtDetError, match=r"cannot be reached.*HTTP_PROXY.*--dry-run"):
        download(f"http://127.0.0.1:{free_port()}/a.zip", file, report)
    assert waits == []
    with pytest.raises(LtDetError, match=r"cannot be reached"):
        download("http://no-such-host.invalid/a.zip", file, report)


def test_network_that_is_lost_later(url, file, report, server, monkeypatch):
    """Refused connections after a first one are tried again."""
    asked = []

    def request(address, start, validator):
        asked.append(start)
        if len(asked) == 2:
            raise http_response.UnreachableError("No route to host")
        return http_response.open_at(address, start, validator)

    monkeypatch.setattr("lt_det.datasets.download.transfer.open_at", request)
    server.cuts = [1_000_000]
    download(url, file, report)
    assert file.read_bytes() == CONTENT
    assert asked == [0, 1_000_000, 1_000_000]


def test_server_that_stalls(url, file, report, server, monkeypatch):
    monkeypatch.setattr(http_response, "TIMEOUT", 0.3)
    server.cuts, server.stalls = [1_000_000], 0
    monkeypatch.setattr("lt_det.datasets.download.transfer.DELAYS", (1.0,))
    with pytest.raises(LtDetError, match="no response for"):
        download(url, file, report)
    assert server.starts() == [0, 1_000_000]
    server.stalls = None
    download(url, file, report)
    assert file.read_bytes() == CONTENT


def test_wrong_checksum(url, file, report, server):
    wrong = "0" * 64
    with pytest.raises(LtDetError, match=rf"a\.zip.*{SHA256}, not {wrong}.*a\.zip\.wrong"):
        download(url, file, report, len(CONTENT), wrong)
    assert parts(file) == ["a.zip.part.json", "a.zip.wrong"]
    server.requests.clear()
    download(url, file, report, len(CONTENT), SHA256)
    assert server.starts() == [0]
    assert file.read_bytes() == CONTENT


def test_wrong_size_is_found_before_the_download(url, file, report, server):
    """A login page instead of the file must not replace what has been received."""
    interrupt(url, file, report, server, 1_200_000)
    server.files["/a.zip"], server.tags["/a.zip"] = b"<html>Log in</html>", None
    with pytest.raises(LtDetError, match=f"19 bytes, not {len(CONTENT)}"):
        download(url, file, report, len(CONTENT), SHA256)
    assert file.with_name("a.zip.part").stat().st_size == 1_200_000


def test_full_disk(url, small_disk, report, server):
    file = small_disk / "a.zip"
    (small_disk / "other").write_bytes(bytes(100_000))
    with pytest.raises(LtDetError, match="free space there, and run the same command again"):
        download(url, file, report)
    received = file.with_name("a.zip.part").read_bytes()
    assert received == CONTENT[: len(received)]
    assert len(received) > 50_000
    server.files["/a.zip"] = CONTENT[:240_000]
    (small_disk / "other").unlink()
    origin = file.with_name("a.zip.part.json")
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"total": 240_000}))
    server.requests.clear()
    download(url, file, report)
    assert server.starts() == [len(received)]
    assert file.read_bytes() == CONTENT[:240_000]


def test_disk_that_is_full_from_the_start(url, small_disk, report):
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(LtDetError, match=r"a\.zip cannot be written"):
        download(url, small_disk / "a.zip", report)


def test_folder_that_cannot_be_created(url, tmp_path, report):
    (tmp_path / "new").write_text("")
    with pytest.raises(LtDetError, match=r"a\.zip cannot be written"):
        download(url, tmp_path / "new" / "a.zip", report)


def test_proxy(server, file, report, monkeypatch):
    server.files["/zips/a.zip"] = CONTENT
    monkeypatch.setenv("http_proxy", server.url)
    download("http://data.invalid/zips/a.zip", file, report, len(CONTENT), SHA256)
    assert file.read_bytes() == CONTENT
    assert server.requests[0][1]["Host"] == "data.invalid"
    server.errors = [(407, {})]
    with pytest.raises(LtDetError, match=r"proxy for http://data\.invalid/zips/b\.zip.*407"):
        download("http://data.invalid/zips/b.zip", file.with_name("b.zip"), report)


def test_redirection_keeps_the_range(url, file, report, server):
    interrupt(url, file, report, server, 1_200_000)
    server.errors = [(302, {"Location": f"{server.url}/a.zip"})]
    download(url, file, report)
    assert server.starts() == [1_200_000, 1_200_000]
    assert file.read_bytes() == CONTENT
