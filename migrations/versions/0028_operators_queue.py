"""What waits for an operator, across merchants and page by page: payments that need a person, dead jobs, merchants. And what was set aside."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import definer, protect

revision = "0028"
down_revision: str | None = "0027"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
MOST_COUNTED = 1_001
"""Beyond a thousand the pages say “more than”; so far is counted."""
ANSWERED_BY = "interval '2 minutes'"
"""A call takes fifteen seconds at most; a claim without an answer after this long is nobody's who still lives."""

NOT_SET_ASIDE = "NOT EXISTS (SELECT FROM set_aside s WHERE s.merchant_id = p.merchant_id AND s.kind = '{kind}' AND s.object_id = {id})"
OF_PAYMENT = "JOIN psp_connection c ON c.merchant_id = p.merchant_id AND c.id = p.connection_id JOIN merchant m ON m.id = p.merchant_id"
OF_OPERATION = f"payment_operation o JOIN payment p ON p.merchant_id = o.merchant_id AND p.id = o.payment_id {OF_PAYMENT}"

# kind: what it is about, its id, the payment, the money, since when, what was said, from where, and when it needs a person
BRANCHES = {
    "unknown": ("'payment'", "p.id", "p.id", "p.amount_minor", "p.updated_at", "NULL", f"payment p {OF_PAYMENT}", "p.status = 'unknown'"),
    "unanswered": (
        "a.operation",
        "a.id",
        "p.id",
        "a.amount_minor",
        "a.created_at",
        "a.message",
        f"payment_attempt a JOIN payment p ON p.merchant_id = a.merchant_id AND p.id = a.payment_id {OF_PAYMENT}",
        f"a.next_ask_at IS NOT NULL AND a.outcome IS NULL AND a.created_at <= p_now - {ANSWERED_BY}",
    ),
    "operation": ("o.kind", "o.id", "p.id", "o.amount_minor", "o.updated_at", "NULL", OF_OPERATION, "o.status = 'unknown'"),
    "conflicted": (
        "'payment'",
        "p.id",
        "p.id",
        "p.amount_minor",
        "p.updated_at",
        "p.failure_message",
        f"payment p {OF_PAYMENT}",
        "p.status = 'conflicted' AND " + NOT_SET_ASIDE.format(kind="conflicted", id="p.id"),
    ),
    "late": (
        "'payment'",
        "p.id",
        "p.id",
        "p.amount_minor",
        "p.updated_at",
        "p.failure_message",
        f"payment p {OF_PAYMENT}",
        "p.failure_code = 'late_success' AND " + NOT_SET_ASIDE.format(kind="late", id="p.id"),
    ),
    "failed": (
        "o.kind",
        "o.id",
        "p.id",
        "o.amount_minor",
        "o.updated_at",
        "(SELECT coalesce(a.message, a.code) FROM payment_attempt a WHERE a.merchant_id = o.merchant_id AND a.id = o.attempt_id)",
        OF_OPERATION,
        "o.status = 'failed' AND (o.kind = 'refund' OR NOT p.rest_released)"
        " AND NOT EXISTS (SELECT FROM payment_operation l WHERE l.merchant_id = o.merchant_id AND l.payment_id = o.payment_id"
        " AND l.kind = o.kind AND l.number > o.number) AND " + NOT_SET_ASIDE.format(kind="failed", id="o.id"),
    ),
    "webhook": (
        "e.kind",
        "j.event_id",
        (
            "(SELECT a.payment_id FROM payment_attempt a WHERE a.merchant_id = e.merchant_id"
            " AND a.provider_reference = e.provider_reference LIMIT 1)"
        ),
        "e.amount_minor",
        "e.received_at",
        "j.error",
        (
            "job_run j JOIN psp_event e ON e.merchant_id = j.merchant_id AND e.id = (j.payload ->> 'object_id')::uuid"
            " JOIN psp_connection c ON c.merchant_id = e.merchant_id AND c.id = e.connection_id JOIN merchant m ON m.id = e.merchant_id"
        ),
        "j.state = 'dead' AND j.actor = 'payments.apply_psp_event' AND e.status IN ('received', 'failed')",
    ),
    "payout": (
        "'payout'",
        "o.id",
        "NULL::uuid",
        "o.amount_minor",
        "o.updated_at",
        "o.failure_message",
        (
            "payout o JOIN funding_account f ON f.merchant_id = o.merchant_id AND f.id = o.funding_account_id"
            " LEFT JOIN psp_connection c ON c.merchant_id = f.merchant_id AND c.id = f.connection_id JOIN merchant m ON m.id = o.merchant_id"
        ),
        "o.status = 'unknown'",
    ),
}
CURRENCY = {"webhook": "e.currency", "payout": "o.currency"}
PROVIDER = {"payout": "coalesce(c.psp, f.rail)"}
ACCOUNT = {"payout": "coalesce(c.name, f.rail)"}

QUEUE_ARGUMENTS = (
    "p_visit uuid, p_now timestamptz, p_merchant uuid, p_name text, p_kind text, p_provider text, p_before timestamptz,"
    " p_ids uuid[], p_since timestamptz, p_id uuid, p_most integer"
)
QUEUE_ROW = (
    "kind text, merchant_id uuid, merchant text, is_sandbox boolean, id uuid, payment_id uuid, what text, currency text, amount_minor bigint,"
    " provider text, account text, since timestamptz, said text"
)
JOBS_ARGUMENTS = (
    "p_visit uuid, p_now timestamptz, p_merchant uuid, p_name text, p_job text, p_last timestamptz, p_event uuid, p_actor text,"
    " p_most integer"
)
JOBS_ROW = (
    "merchant_id uuid, merchant text, is_sandbox boolean, event_id uuid, actor text, topic text, attempts bigint, error text,"
    " first_at timestamptz, last_at timestamptz"
)
MERCHANTS_ARGUMENTS = "p_visit uuid, p_now timestamptz, p_name text, p_since timestamptz, p_id uuid, p_most integer"
MERCHANTS_ROW = (
    "merchant_id uuid, merchant text, is_sandbox boolean, status text, since timestamptz, people bigint, connections bigint, unknown bigint,"
    " dead bigint"
)
COUNTS_ARGUMENTS, COUNTS_ROW = "p_visit uuid, p_now timestamptz", "kind text, provider text, waiting bigint, oldest timestamptz"
LOOK_ARGUMENTS = "p_visit uuid, p_now timestamptz, p_what text, p_merchants uuid[], p_entries uuid[], p_actor jsonb"

PIECE = """
(SELECT '{kind}'::text AS kind, m.id AS merchant_id, m.name AS merchant, m.sandbox_of IS NOT NULL AS is_sandbox, {id} AS id,
        {payment} AS payment_id, {what} AS what, {currency} AS currency, {amount} AS amount_minor, {provider} AS provider,
        {account} AS account, {since} AS since, coalesce({said}, '') AS said
   FROM {source}
  WHERE {condition} AND (p_kind IS NULL OR p_kind = '{kind}') AND (p_merchant IS NULL OR m.id = p_merchant)
    AND (p_name IS NULL OR strpos(lower(m.name), lower(p_name)) > 0) AND (p_provider IS NULL OR {provider} = p_provider)
    AND (p_before IS NULL OR {since} <= p_before) AND (p_ids IS NULL OR {id} = ANY (p_ids))
    AND (p_since IS NULL OR ({since}, {id}) {beyond} (p_since, p_id))
  ORDER BY {since} {direction}, {id} {direction} LIMIT p_most)
"""
QUEUE = """
CREATE FUNCTION {name}({arguments}) RETURNS TABLE ({row})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT * FROM ({pieces}) q WHERE operator_visit_open(p_visit, p_now)
     ORDER BY q.since {direction}, q.id {direction} LIMIT p_most
$$
"""
COUNTS = """
CREATE FUNCTION operator_queue_counts({arguments}) RETURNS TABLE ({row})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT * FROM ({pieces}) q WHERE operator_visit_open(p_visit, p_now)
$$
"""
JOBS = """
CREATE FUNCTION {name}({arguments}) RETURNS TABLE ({row})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT j.merchant_id, m.name, m.sandbox_of IS NOT NULL, j.event_id, j.actor, j.topic, j.attempts, coalesce(j.error, ''), j.first_at, j.last_at
      FROM job_run j JOIN merchant m ON m.id = j.merchant_id
     WHERE j.state = 'dead' AND operator_visit_open(p_visit, p_now) AND (p_merchant IS NULL OR j.merchant_id = p_merchant)
       AND (p_name IS NULL OR strpos(lower(m.name), lower(p_name)) > 0) AND (p_job IS NULL OR j.actor = p_job)
       AND (p_last IS NULL OR (j.last_at, j.event_id, j.actor) {beyond} (p_last, p_event, p_actor))
     ORDER BY j.last_at {direction}, j.event_id {direction}, j.actor {direction} LIMIT p_most
$$
"""
MERCHANTS = """
CREATE FUNCTION {name}({arguments}) RETURNS TABLE ({row})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT m.id, m.name, m.sandbox_of IS NOT NULL, m.status, m.created_at,
           (SELECT count(*) FROM membership b WHERE b.merchant_id = m.id),
           (SELECT count(*) FROM psp_connection c WHERE c.merchant_id = m.id AND c.status = 'active'),
           (SELECT count(*) FROM (SELECT FROM payment p WHERE p.merchant_id = m.id AND p.status IN ('unknown', 'conflicted') LIMIT {most}) x),
           (SELECT count(*) FROM (SELECT FROM job_run j WHERE j.merchant_id = m.id AND j.state = 'dead' LIMIT {most}) x)
      FROM (SELECT * FROM merchant x
             WHERE operator_visit_open(p_visit, p_now) AND (p_name IS NULL OR strpos(lower(x.name), lower(p_name)) > 0)
               AND (p_since IS NULL OR (x.created_at, x.id) {beyond} (p_since, p_id))
             ORDER BY x.created_at {direction}, x.id {direction} LIMIT p_most) m
     ORDER BY m.created_at {direction}, m.id {direction}
$$
"""
# What of whom was seen goes into the trail of each in one statement; a loop over merchants would be a statement each.
LOOK = """
CREATE FUNCTION operator_note_look({arguments}) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH noted AS (
        INSERT INTO audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type,
                                 object_id, before, after, reason)
        SELECT u.merchant, u.entry, p_now, 'operator', (p_actor ->> 'id')::uuid, p_actor ->> 'name', p_actor ->> 'address',
               (p_actor ->> 'factor_at')::timestamptz, p_actor ->> 'request_id', 'operator.saw_' || p_what, 'merchant', u.merchant,
               NULL, NULL, v.reason
          FROM unnest(p_merchants, p_entries) u(merchant, entry) JOIN operator_visit v ON v.id = p_visit
         WHERE operator_visit_open(p_visit, p_now)
        RETURNING 1)
    SELECT count(*) FROM noted
$$
"""
WAYS = (("", "ASC", ">"), ("_back", "DESC", "<"))
NEWEST_FIRST = (("", "DESC", "<"), ("_back", "ASC", ">"))


def piece(kind: str, direction: str, beyond: str) -> str:
    """One kind of what waits, in the columns that all share."""
    what, identity, payment, amount, since, said, source, condition = BRANCHES[kind]
    return PIECE.format(
        kind=kind,
        what=what,
        id=identity,
        payment=payment,
        amount=amount,
        since=since,
        said=said,
        source=source,
        condition=condition,
        currency=CURRENCY.get(kind, "p.currency"),
        provider=PROVIDER.get(kind, "c.psp"),
        account=ACCOUNT.get(kind, "c.name"),
        direction=direction,
        beyond=beyond,
    )


def counted(kind: str) -> str:
    """How many of one kind wait, by provider: of the longest waiting, so that an outage of a hundred thousand does not slow the page."""
    since, source, condition = BRANCHES[kind][4], BRANCHES[kind][6], BRANCHES[kind][7]
    provider = PROVIDER.get(kind, "c.psp")
    longest = f"SELECT {provider} AS provider, {since} AS since FROM {source} WHERE {condition} ORDER BY {since} LIMIT {MOST_COUNTED}"
    return f"SELECT '{kind}'::text AS kind, l.provider, count(*) AS waiting, min(l.since) AS oldest FROM ({longest}) l GROUP BY 2"


def doors() -> list[tuple[str, str, str]]:
    """Every function: its name, its arguments, its text."""
    made = []
    for ending, direction, beyond in WAYS:
        name = f"operator_queue{ending}"
        pieces = " UNION ALL ".join(piece(kind, direction, beyond) for kind in BRANCHES)
        made.append(
            (name, QUEUE_ARGUMENTS, QUEUE.format(name=name, arguments=QUEUE_ARGUMENTS, row=QUEUE_ROW, pieces=pieces, direction=direction))
        )
    for ending, direction, beyond in NEWEST_FIRST:
        for base, arguments, row, text in (
            ("operator_dead_jobs", JOBS_ARGUMENTS, JOBS_ROW, JOBS),
            ("operator_merchants", MERCHANTS_ARGUMENTS, MERCHANTS_ROW, MERCHANTS),
        ):
            name = base + ending
            made.append(
                (
                    name,
                    arguments,
                    text.format(name=name, arguments=arguments, row=row, direction=direction, beyond=beyond, most=MOST_COUNTED),
                )
            )
    counts = COUNTS.format(arguments=COUNTS_ARGUMENTS, row=COUNTS_ROW, pieces=" UNION ALL ".join(map(counted, BRANCHES)))
    made.append(("operator_queue_counts", COUNTS_ARGUMENTS, counts))
    made.append(("operator_note_look", LOOK_ARGUMENTS, LOOK.format(arguments=LOOK_ARGUMENTS)))
    return made


def signature(name: str, arguments: str) -> str:
    """How a function is named where its arguments have no names."""
    return f"{name}({', '.join(argument.split()[1] for argument in arguments.split(', '))})"


def upgrade() -> None:
    op.create_table(
        "set_aside",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "kind", "object_id", name="pk_set_aside"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_set_aside_merchant_id_merchant"),
        sa.CheckConstraint("kind in ('conflicted', 'late', 'failed')", name=op.f("ck_set_aside_kind")),
        sa.CheckConstraint("length(reason) >= 10", name=op.f("ck_set_aside_reason")),
    )
    protect(op, "set_aside", grants="SELECT, INSERT")
    op.create_index("ix_payment_conflicted", "payment", ["updated_at"], postgresql_where=sa.text("status = 'conflicted'"))
    op.create_index("ix_payment_operation_failed", "payment_operation", ["updated_at", "id"], postgresql_where=sa.text("status = 'failed'"))
    op.create_index("ix_operator_visit_opened_at", "operator_visit", ["opened_at", "id"])
    for name, arguments, text in doors():
        op.execute(text)
        definer(op, signature(name, arguments))


def downgrade() -> None:
    for name, arguments, _ in reversed(doors()):
        op.execute(f"DROP FUNCTION {signature(name, arguments)}")
    op.drop_index("ix_operator_visit_opened_at", "operator_visit")
    op.drop_index("ix_payment_operation_failed", "payment_operation")
    op.drop_index("ix_payment_conflicted", "payment")
    op.drop_table("set_aside")
