"""Opens every HTML report of the tests, and the live page of a real run, in a browser, and reads an interval log with HdrHistogram's
Python package. Fails on a console message, a request to anywhere else, a missing chart, or a page above 250 kB.

    .ci/pages.py PAGES COORDINATOR [SCREENSHOTS]

PAGES is the directory that the test `pages_are_written_on_request` has filled. With SCREENSHOTS, every page is stored there as a picture,
light, dark and as printed, 1400 and 400 pixels wide. Needs the packages playwright and hdrhistogram, and Chromium.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from playwright.sync_api import sync_playwright

BYTES_MAX = 250_000
LOOKS = {"light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"}, "print": {"media": "print"}}


def main():
    pages, coordinator = [pathlib.Path(argument).resolve() for argument in sys.argv[1:3]]
    pictures = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        files = sorted(pages.glob("*.html"))
        assert files, f"no pages in {pages}"
        for file in files:
            check_file(browser, file, pictures)
        check_live(browser, coordinator, pictures)
        browser.close()
    print(f"{len(files)} pages and a live page opened")


def opened(browser, url):
    """A page with its console messages and the URLs that it has requested."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    start = time.monotonic()
    page.goto(url)
    return page, messages, requests, time.monotonic() - start


def check_file(browser, file, pictures):
    page, messages, requests, seconds = opened(browser, file.as_uri())
    size = file.stat().st_size
    charts, figures = page.locator("svg.chart").count(), page.locator(".figure").count()
    # The script works: a pointer shows values, and a button hides a line.
    if page.locator("#latency svg.chart").count():
        page.locator("#latency svg.chart").first.hover()
        assert page.locator("#tooltip").is_visible(), f"{file.name}: no tooltip"
        page.locator("#latency .legend button").first.click()
        assert page.locator("#latency .plot path[visibility=hidden]").count() > 0, f"{file.name}: nothing hidden"
    assert not messages, f"{file.name}: {messages}"
    others = [url for url in requests if url != file.as_uri() and not url.startswith("data:")]
    assert not others, f"{file.name} requests {others}"
    assert charts == figures, f"{file.name}: {charts} charts for {figures} figures"
    assert size < BYTES_MAX, f"{file.name}: {size} bytes"
    print(f"{file.name}: {size:,} bytes, {charts} charts, {seconds * 1e3:.0f} ms")
    page.close()
    if pictures:
        take_pictures(browser, file, pictures)


def take_pictures(browser, file, pictures):
    for look, options in LOOKS.items():
        for width in [1400, 400]:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.emulate_media(**options)
            page.goto(file.as_uri())
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{file.name} is {overflow} pixels too wide at {width}"
            page.screenshot(path=pictures / f"{file.stem}-{look}-{width}.png", full_page=True)
            page.close()


def check_live(browser, coordinator, pictures):
    with tempfile.TemporaryDirectory() as directory:
        log = pathlib.Path(directory) / "run.hlog"
        command = [coordinator, "run", "--local", "--agents", "4", "--duration", "8s", "--web", "127.0.0.1:0", "--run-dir", directory]
        command += ["--output", f"json=/dev/null,hlog={log}", "--allow-void", "data/query_params.csv"]
        errors = pathlib.Path(directory) / "errors"
        run = subprocess.Popen(command, stderr=errors.open("w"))
        try:
            url = wait_for_url(errors)
            page, messages, requests, _ = opened(browser, url)
            page.wait_for_selector("#heat-map svg", timeout=60_000)
            # Zooming in keeps the page as it is, and a double-click continues.
            chart = page.locator("#latency svg.chart").first
            chart.dblclick()
            before = page.inner_text("h1")
            page.locator("#latency .legend button").first.click()
            page.wait_for_function("text => document.querySelector('h1').textContent.trim() !== text", arg=before, timeout=20_000)
            assert page.locator("#latency .legend button[aria-pressed=false]").count() == 1, "the series is shown again"
            if pictures:
                page.screenshot(path=pictures / "live.png")
            page.wait_for_selector("a[data-file][href^=blob]", timeout=60_000)
            status = page.inner_text(".status")
            assert status in ("VALID", "DEGRADED", "VOID"), status
            run.wait(timeout=60)
            assert run.returncode == 0, f"exit code {run.returncode}"
            assert not messages, messages
            others = [request for request in requests if not request.startswith((url, "data:", "blob:"))]
            assert not others, f"the live page requests {others}"
            page.close()
        finally:
            run.kill()
            run.wait()
        check_log(log)


def wait_for_url(errors):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := re.search(r"live page at (\S+)", errors.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"the coordinator printed no URL: {errors.read_text()}")


def check_log(log):
    reader = HistogramLogReader(str(log), HdrHistogram(1, 3_600 * 10**9, 3))
    counts = {}
    while histogram := reader.get_next_interval_histogram():
        counts[histogram.get_tag()] = counts.get(histogram.get_tag(), 0) + histogram.get_total_count()
    tags = {f"slot-{slot}.service" for slot in range(4)}
    assert set(counts) == tags, counts
    assert all(counts.values()), counts
    print(f"{log.name}: {sum(counts.values()):,} queries in {len(counts)} tags")


main()
