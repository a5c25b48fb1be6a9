"""Pages in a browser, and what it complains about while it shows them. The fixtures are in conftest.py."""

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request, Response


def watched(page: Page) -> list[str]:
    """A list that grows by a line for whatever goes wrong on `page` from now on.

    That is an error or warning of a script, a file that is missing or cannot be loaded, and a request to a host other
    than the one that the page is from. Nothing is held back: a foreign address is asked for, and noted.
    """
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type} in the console: {message.text}")

    def asked(request: Request) -> None:
        address, home = urlsplit(request.url), urlsplit(request.frame.url if request.frame else page.url)
        if address.scheme not in ("data", "blob") and address.netloc != home.netloc and home.scheme != "about":
            complaints.append(f"asks another host: {request.url}")

    def failed(request: Request) -> None:
        complaints.append(f"cannot load {request.url}: {request.failure}")

    def answered(response: Response) -> None:
        if response.status >= 400:
            complaints.append(f"{response.status} for {response.url}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(f"a script stopped: {error}"))
    page.on("request", asked)
    page.on("requestfailed", failed)
    page.on("response", answered)
    return complaints
