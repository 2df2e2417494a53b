"""Alembic's entry: it runs the migrations on the connection that `fhir_server.store.migrate` hands over.

https://alembic.sqlalchemy.org/en/latest/tutorial.html#editing-the-ini-file
"""

from __future__ import annotations

from alembic import context

from fhir_server.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
