"""
Stored applications: what a replica that does not decide knows of them, from the state.
"""

from __future__ import annotations

import time

import attrs

from fal_server.errors import NotFound
from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.specs.request_retries import RequestRetries, read_retries
from fal_server.store.revisions import Alias, Revisions

#: Seconds for which an application is known, and the most that are.
_REMEMBERED, _MANY = 1.0, 4096

#: The owner and the alias of an application.
Name = tuple[str, str]


@attrs.define(eq=False)
class StoredApplications:
    """
    Finds applications in the state.
    """

    revisions: Revisions
    _known: dict[Name, tuple[float, Application]] = attrs.field(factory=dict)
    #: What never changes of a revision.
    _declared: dict[str, tuple[RequestRetries, bool]] = attrs.field(factory=dict)

    async def load(self, owner_name: str, alias: str) -> bool:
        """
        Read an application, unless that was done a moment ago, and return whether there is it.
        """
        name, now = (owner_name, alias), time.monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < _REMEMBERED:
            return True
        found = await self.revisions.find_alias(owner_name, alias)
        if found is None:
            self._known.pop(name, None)
            return False
        if len(self._known) >= _MANY:
            self._known.clear()
        self._known[name] = now, await self._make(found)
        return True

    def find(self, owner_name: str, alias: str) -> Application:
        """
        Return an application that was loaded.

        Raises:
            NotFound: There is none.
        """
        known = self._known.get((owner_name, alias))
        if known is None:
            raise NotFound(f"Application {owner_name[:80]}/{alias[:80]} was not found.")
        return known[1]

    async def _make(self, alias: Alias) -> Application:
        if alias.revision not in self._declared:
            if len(self._declared) >= _MANY:
                self._declared.clear()
            request = await self.revisions.request_of(alias.revision)
            self._declared[alias.revision] = read_retries(request), request.private_logs
        retries, private_logs = self._declared[alias.revision]
        return Application(
            owner=alias.account_id,
            owner_name=alias.owner_name,
            alias=alias.alias,
            auth_mode=alias.auth_mode,
            pool=make_closed_pool(),
            stage=alias.stage,
            revision=alias.revision,
            scaling=alias.scaling,
            retries=retries,
            private_logs=private_logs,
        )
