"""State and audit in SQLite (WAL) or PostgreSQL."""
