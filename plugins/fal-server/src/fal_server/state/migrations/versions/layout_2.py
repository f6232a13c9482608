"""
Layout 2: all tables, as servers made them before they had migrations.

Those servers made what was missing whenever they started, so any of it may be missing here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = None
branch_labels = None
depends_on = None

#: Compared and ordered by its bytes in each database.
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make what is missing."""
    _make_accounts()
    _make_applications()
    _make_files()
    _make_logs()
    _make_requests()


def _make_accounts() -> None:
    _make_table(
        "accounts",
        _key("id"),
        _text("kind"),
        _text("nickname", unique=True),
        _text("full_name"),
        _time("created_at"),
    )
    _make_table("members", _account("team_id", primary=True), _account("user_id", primary=True))
    _make_table(
        "keys",
        _key("id"),
        _account(),
        _text("hash"),
        _text("alias"),
        _text("preset"),
        sa.Column("permissions", sa.JSON, nullable=False),
        _time("created_at"),
        _time("revoked_at", nullable=True),
    )
    _make_index("ix_keys_account_id", "keys", "account_id")
    _make_table(
        "environments",
        _account(primary=True),
        _key("name"),
        _text("description", nullable=True),
        _time("created_at"),
    )
    _make_table(
        "secrets",
        _account(primary=True),
        _key("environment"),
        _key("name"),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("default_exposed", sa.Boolean),
        _time("created_at"),
    )


def _make_applications() -> None:
    _make_table(
        "revisions",
        _key("id"),
        _account(),
        _text("alias"),
        _text("environment"),
        sa.Column("request", sa.LargeBinary, nullable=False),
        _text("scaling"),
        _time("created_at"),
    )
    _make_index("ix_revisions_account_id", "revisions", "account_id")
    _make_table("aliases", *_alias())
    _make_table("takeovers", *_alias(), sa.Column("rolling", sa.Boolean, nullable=False))
    _make_table(
        "runners",
        _key("id"),
        _text("account_id"),
        *(_text(name) for name in ("alias", "revision", "token", "reference", "machine_type")),
        _time("started_at"),
        _time("ended_at", nullable=True),
    )
    _make_index("ix_runners_account_id", "runners", "account_id")


def _alias() -> tuple[sa.Column[Any], ...]:
    return (
        _account(primary=True),
        _key("alias"),
        _text("environment"),
        sa.Column("revision", _TEXT, sa.ForeignKey("revisions.id"), nullable=False),
        sa.Column("auth_mode", sa.Integer, nullable=False),
        _text("scaling"),
    )


def _make_files() -> None:
    _make_table(
        "app_files",
        _account(primary=True),
        _key("hash"),
        sa.Column("mode", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        _time("created_at"),
    )
    _make_table(
        "stored_files",
        _key("id"),
        _account(),
        _text("digest"),
        _text("name"),
        _text("content_type"),
        sa.Column("size", sa.BigInteger, nullable=False),
        _time("created_at"),
        _time("expires_at", nullable=True),
    )
    _make_index("ix_stored_files_account_id", "stored_files", "account_id")


def _make_logs() -> None:
    _make_table(
        "logs",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        _text("account_id"),
        _text("application"),
        _text("runner_id"),
        _text("request_id", nullable=True),
        *(_text(name) for name in ("level", "source", "message")),
    )
    _make_index("logs_of_account", "logs", "account_id", "time")
    _make_index("logs_of_runner", "logs", "runner_id", "time")
    _make_index("logs_of_request", "logs", "request_id")
    _make_table(
        "log_shares",
        _key("runner_id"),
        _key("account_id"),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("note", sa.BigInteger),
    )
    _make_index("log_shares_of_account", "log_shares", "account_id")


def _make_requests() -> None:
    _make_table(
        "idempotency_keys",
        _key("scope"),
        _text("digest"),
        _text("request_id"),
        _time("created_at"),
    )
    _make_index("idempotency_keys_by_time", "idempotency_keys", "created_at")
    _make_index("idempotency_keys_by_request", "idempotency_keys", "request_id")
    _make_table(
        "requests",
        _key("id"),
        sa.Column("number", sa.BigInteger, nullable=False),
        *(_text(name) for name in ("account_id", "owner_name", "alias", "sender")),
        *(_text(name) for name in ("method", "path", "headers")),
        sa.Column("priority", sa.Integer, nullable=False),
        _text("webhook"),
        _text("state"),
        sa.Column("attempts", sa.Integer, nullable=False),
        _time("submitted_at"),
        _time("started_at", nullable=True),
        _time("ended_at", nullable=True),
        sa.Column("status", sa.Integer),
        *(_text(name, nullable=True) for name in ("answer_headers", "error", "error_type")),
        _time("webhook_due", nullable=True),
        sa.Column("webhook_tries", sa.Integer, nullable=False),
        *_added_to_requests(),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
    )
    _extend_requests()
    _make_index("requests_by_number", "requests", "number")
    _make_index("requests_by_state", "requests", "state")
    for name, column in (("webhook", "webhook_due"), ("end", "ended_at")):
        some = sa.literal_column(column).is_not(None)
        _make_index(
            f"requests_by_{name}",
            "requests",
            column,
            sqlite_where=some,
            postgresql_where=some,
        )


def _added_to_requests() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("start_timeout", sa.Float),
        sa.Column("body_size", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("answer_size", sa.BigInteger, nullable=False, server_default="0"),
    )


def _extend_requests() -> None:
    """Make the table of requests of layout 1 that of layout 2."""
    found = sa.inspect(op.get_bind())
    columns = {each["name"] for each in found.get_columns("requests")}
    if "body_size" in columns:
        return
    for column in _added_to_requests():
        op.add_column("requests", column)
    op.execute(
        "UPDATE requests SET body_size = length(body), "
        "answer_size = coalesce(length(answer), 0)"
    )
    for name in ("requests_of_application", "requests_by_webhook"):
        op.drop_index(name, "requests", if_exists=True)


def _make_table(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(name, *columns, if_not_exists=True)


def _make_index(name: str, table: str, *columns: str, **where: Any) -> None:
    op.create_index(name, table, list(columns), if_not_exists=True, **where)


def _text(name: str, *, nullable: bool = False, unique: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _TEXT, nullable=nullable, unique=unique or None)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, _TEXT, primary_key=True)


def _account(name: str = "account_id", *, primary: bool = False) -> sa.Column[Any]:
    account = sa.ForeignKey("accounts.id")
    return sa.Column(name, _TEXT, account, primary_key=primary, nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Float, nullable=nullable)
