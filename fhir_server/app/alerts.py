"""The watch of a worker, wired: what looks at channels, and what carries notices by e-mail and to webhooks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import structlog

from adapters.mail import MailServer, Unsent, mail, send
from adapters.web import Failed, Refused
from fhir_server.app.concord import Concord
from fhir_server.app.guards import web_of
from fhir_server.engine.watch import Watch
from fhir_server.operations import notices
from fhir_server.operations.notices import Order, Rhythm
from fhir_server.settings import Settings
from fhir_server.store import alert_targets
from fhir_server.store.database import Tx
from fhir_server.store.jobs import ClaimedJob

log = structlog.get_logger(__name__)


class Undelivered(Exception):
    """A notice did not reach its recipient this time; the message is safe to store."""


def watch_of(concord: Concord) -> Watch:
    """Return what looks at the channels of all tenants."""
    given = concord.settings
    rhythm = Rhythm(timedelta(seconds=given.alert_remind), timedelta(seconds=given.alert_gap))
    return Watch(concord.db, concord.clock, rhythm, given.watch_seconds)


def mail_server(settings: Settings) -> MailServer | None:
    """Return the mail server of the settings, None where there is none."""
    if settings.smtp_host is None:
        return None
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
    return MailServer(
        settings.smtp_host, settings.smtp_port, settings.smtp_security, settings.smtp_user, password,
        settings.outgoing_authorities,
    )  # fmt: skip


class Carrier:
    """Does the jobs that notices are: each reaches its recipient at least once, or is given up with a line in the log.

    Work is done in the job's transaction, so what fails is tried again with growing waits, by whichever worker is free.
    """

    def __init__(self, concord: Concord) -> None:
        self._concord = concord
        self._server = mail_server(concord.settings)
        # Redirects are not followed: a request that became another one was not delivered.
        self._web = replace(web_of(concord.settings), redirects=0)
        self._patience = timedelta(seconds=concord.settings.alert_give_up)

    async def work(self, tx: Tx, job: ClaimedJob, now: datetime) -> bool:
        """Carry a notice; True once it is carried or given up. Raises Undelivered."""
        order = msgspec.convert(job.payload, Order)
        try:
            if order.email is not None:
                await self._mail(job, order, now)
            elif order.webhook is not None:
                await self._hook(job, order, order.webhook, now)
        except Undelivered as problem:
            if now - order.queued < self._patience:
                raise
            log.error("a notice of an alert was given up", job_id=job.id, alert=order.notice.alert, reason=str(problem))
        return True

    async def _mail(self, job: ClaimedJob, order: Order, now: datetime) -> None:
        if self._server is None:
            raise Undelivered("there is no mail server: set CONCORD_SMTP_HOST")
        notice, sender = order.notice, self._concord.settings.smtp_from
        id_ = f"<{job.tenant_id}.{job.id}@{sender.rpartition('@')[2]}>"
        written = notices.text(notice, self._concord.base_url)
        assert order.email is not None
        try:
            await send(self._server, mail(sender, order.email, notices.subject(notice), written, id_, order.queued))
        except Unsent as problem:
            raise Undelivered(str(problem)) from None

    async def _hook(self, job: ClaimedJob, order: Order, target: int, now: datetime) -> None:
        found = await alert_targets.secret(self._concord.db, job.tenant_id, target)
        if found is None:
            return  # nobody is to be told there any more
        url, secret = found
        content = notices.body(order.notice)
        headers = {
            "content-type": "application/json",
            "x-concord-delivery": str(job.id),
            "x-concord-signature": notices.signature(secret, content, now),
        }
        try:
            answer = await self._web.send("POST", url, headers, content)
        except (Refused, Failed) as problem:
            raise Undelivered(str(problem)) from None
        if not 200 <= answer.status < 300:
            raise Undelivered(f"the webhook answered {answer.status}")
