"""A client for FHIR servers of others: what they answer becomes a value, bodies are bytes, nothing of a patient a text.

https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from adapters.fhir_answers import Done, Final, Page, Result, Retry, failure, page, told
from adapters.fhir_signin import Nobody, SignIn
from adapters.web import Answer, Failed, Guarded, Refused, Web, origin

Pairs = Sequence[tuple[str, str]]
_JSON = "application/fhir+json"
_TYPE = re.compile(r"[A-Z][A-Za-z]{0,63}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
# Links to next pages hold a whole search.
_LONGEST_URL = 8192


class FhirClient:
    """Talks to the server at `base` through `web`'s guard, over connections that it keeps; close it after use.

    `most_sent` bounds the bytes of a body that is sent; those of an answer and the time are bounded by `web`.
    Every method returns Done, Retry or Final and raises nothing but ValueError for a type or id that is none. What is
    sent and answered stands in no text of an exception and in no `reason`.
    """

    def __init__(
        self,
        base: str,
        web: Web,
        clock: Callable[[], datetime],
        sign_in: SignIn | None = None,
        most_sent: int = 64 << 20,
    ) -> None:
        self.base = base.rstrip("/")
        self._web = replace(web, redirects=0, longest=_LONGEST_URL)
        self._clock = clock
        self._sign_in = sign_in or Nobody()
        self._most_sent = most_sent
        self._through = Guarded(self._web)

    async def __aenter__(self) -> FhirClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._through.aclose()

    async def read(self, type_: str, id_: str) -> Result:
        """Read a resource."""
        return await self._asked("GET", f"{self.base}/{_known(_TYPE, type_)}/{_known(_ID, id_)}")

    async def create(self, type_: str, body: bytes, if_none_exist: Pairs = ()) -> Result:
        """Create a resource; with `if_none_exist`, only where the search finds none (200 tells that it was there)."""
        condition = {"if-none-exist": urlencode(if_none_exist)} if if_none_exist else {}
        return await self._asked("POST", f"{self.base}/{_known(_TYPE, type_)}", body, condition)

    async def update(self, type_: str, id_: str, body: bytes, if_match: str | None = None) -> Result:
        """Update the resource of this id, or create it; `if_match` is the ETag of the version that was seen."""
        condition = {"if-match": if_match} if if_match else {}
        return await self._asked("PUT", f"{self.base}/{_known(_TYPE, type_)}/{_known(_ID, id_)}", body, condition)

    async def conditional_update(self, type_: str, query: Pairs, body: bytes) -> Result:
        """Update the one resource that the search finds, or create one; several are Final (412)."""
        if not query:
            raise ValueError("a conditional update needs a condition")
        return await self._asked("PUT", f"{self.base}/{_known(_TYPE, type_)}?{urlencode(query)}", body)

    async def transaction(self, bundle: bytes) -> Result:
        """Send a Bundle of type transaction or batch; of a batch, each entry's fate stands in the answer."""
        return await self._asked("POST", self.base, bundle)

    async def search(self, type_: str, query: Pairs) -> Page | Retry | Final:
        """Return the first page of a search."""
        asked = f"?{urlencode(query)}" if query else ""
        return await self.page(f"{self.base}/{_known(_TYPE, type_)}{asked}")

    async def page(self, url: str) -> Page | Retry | Final:
        """Return the page of a search at this address, which is of the server's origin or Final."""
        try:
            if origin(url, _LONGEST_URL) != origin(self.base):
                return Final("the page is at another scheme, host or port than the server")
        except Refused as problem:
            return failure(problem)
        answered = await self._asked("GET", url)
        return page(answered, url, _LONGEST_URL) if isinstance(answered, Done) else answered

    async def pages(self, type_: str, query: Pairs, most: int = 1000) -> AsyncIterator[Page | Retry | Final]:
        """Give the pages of a search, at most so many; what is no Page is the last that comes."""
        found = await self.search(type_, query)
        seen: set[str] = set()
        while True:
            yield found
            if not isinstance(found, Page) or found.following is None:
                return
            if found.following in seen or len(seen) + 1 >= most:
                yield Final("the links to next pages lead in a circle, or to more pages than are read")
                return
            seen.add(found.following)
            found = await self.page(found.following)

    async def _asked(
        self, method: str, url: str, body: bytes = b"", condition: Mapping[str, str] | None = None
    ) -> Result:
        """Send a request; a token that is no longer taken is asked for anew, once."""
        if len(body) > self._most_sent:
            return Final(f"what is to be sent is larger than {self._most_sent} bytes")
        again = True
        while True:
            # From here on the clock is the token's: a slow server may have let it expire meanwhile.
            signed = await self._sign_in.headers(self._web, self._through, self.base, self._clock())
            if not isinstance(signed, dict):
                return signed
            answer = await self._answered(method, url, body, {**_plain(method), **(condition or {}), **signed})
            if not isinstance(answer, Answer):
                return answer
            if answer.status != 401 or not (self._sign_in.refused(signed) and again):
                return told(answer, self._clock())
            again = False

    async def _answered(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Retry | Final:
        try:
            return await self._web.once(self._through, method, url, headers, body)
        except (Refused, Failed) as problem:
            return failure(problem)


def _plain(method: str) -> dict[str, str]:
    if method == "GET":
        return {"accept": _JSON}
    return {"accept": _JSON, "content-type": _JSON, "prefer": "return=minimal"}


def _known(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("this is no type or id of a resource")
    return text
