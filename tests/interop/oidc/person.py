"""A person who signs in: opens an address, fills in the provider's forms, and goes where it sends them."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

STEPS = 20


class Forms(HTMLParser):
    """The forms of a page: where they go, and their fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((told.get("action", ""), {}))
        elif tag in ("input", "button") and self.found and told.get("name"):
            self.found[-1][1][told["name"]] = told.get("value", "")


@dataclass
class Person:
    """``name`` is typed where a login is asked for, ``code`` where a code is; ``denies`` leaves there."""

    name: str = "alice"
    code: str = ""
    denies: bool = False
    pages: list[str] = field(default_factory=list[str])

    def visit(self, address: str) -> httpx.Response:
        """Open ``address`` and go on until nothing is asked any more; return the last page."""
        with httpx.Client(follow_redirects=True, timeout=20) as browser:
            answer = browser.get(address)
            for _ in range(STEPS):
                self.pages.append(answer.text)
                if self.denies and (leave := re.search(r'href="([^"]*/abort)"', answer.text)):
                    return browser.get(urljoin(str(answer.url), leave[1]))
                forms = Forms(answer.text).found
                if not forms:
                    return answer
                action, fields = forms[0]
                answer = browser.post(urljoin(str(answer.url), action), data=self._filled(fields))
        raise AssertionError(f"the provider asks for ever: {answer.text}")

    def _filled(self, fields: dict[str, str]) -> dict[str, str]:
        typed = {"login": self.name, "password": "any", "user_code": self.code}
        filled = {name: typed.get(name) or value for name, value in fields.items()}
        filled.pop("abort", None)
        return filled
