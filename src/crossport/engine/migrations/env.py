"""Run migrations on the connection that the engine hands over; alembic executes this file."""

from alembic import context

from crossport.engine.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
