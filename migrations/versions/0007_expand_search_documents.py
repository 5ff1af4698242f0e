"""Search documents with their versions."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE search_documents (
          index_name TEXT NOT NULL,
          id TEXT NOT NULL,
          version BIGINT NOT NULL,
          CONSTRAINT search_documents_pkey PRIMARY KEY (index_name, id),
          CONSTRAINT search_documents_version_not_negative CHECK (version >= 0)
        )
    """)
