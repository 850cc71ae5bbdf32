-- The ledger's tables. merchant_id is the book: one book per merchant, so no second id for it is carried along.
CREATE SCHEMA ledger;

CREATE TABLE ledger.currency (
  code text NOT NULL,
  name text NOT NULL,
  exponent smallint NOT NULL,
  numeric_iso smallint,
  active boolean NOT NULL DEFAULT true,
  CONSTRAINT pk_currency PRIMARY KEY (code),
  CONSTRAINT ck_currency_code CHECK (code ~ '^[A-Z0-9]{3,8}$'),
  CONSTRAINT ck_currency_exponent CHECK (exponent BETWEEN 0 AND 6));

-- Providers disagree with ISO 4217 about decimals; what they say is data, never assumed.
CREATE TABLE ledger.provider_currency (
  provider text NOT NULL,
  code text NOT NULL,
  exponent smallint NOT NULL,
  rounding_step integer NOT NULL DEFAULT 1,
  CONSTRAINT pk_provider_currency PRIMARY KEY (provider, code),
  CONSTRAINT fk_provider_currency_code_currency FOREIGN KEY (code) REFERENCES ledger.currency (code),
  CONSTRAINT ck_provider_currency_exponent CHECK (exponent BETWEEN 0 AND 6),
  CONSTRAINT ck_provider_currency_rounding_step CHECK (rounding_step > 0));

CREATE TABLE ledger.txn_kind (
  code text NOT NULL,
  name text NOT NULL,
  CONSTRAINT pk_txn_kind PRIMARY KEY (code));

CREATE TABLE ledger.chart (
  code text NOT NULL,
  name text NOT NULL,
  class smallint NOT NULL,            -- 1 asset 2 liability 3 equity 4 revenue 5 expense 6 memo
  normal_side smallint NOT NULL,      -- 1 debit, -1 credit
  contention smallint NOT NULL,       -- 0 sync 1 sharded 2 deferred
  shards smallint NOT NULL DEFAULT 1,
  must_clear boolean NOT NULL DEFAULT false,
  min_available bigint,               -- NULL: may go below zero
  CONSTRAINT pk_chart PRIMARY KEY (code),
  CONSTRAINT ck_chart_class CHECK (class BETWEEN 1 AND 6),
  CONSTRAINT ck_chart_normal_side CHECK (normal_side IN (1, -1)),
  CONSTRAINT ck_chart_contention CHECK (contention IN (0, 1, 2)),
  CONSTRAINT ck_chart_shards CHECK (shards BETWEEN 1 AND 64 AND (contention = 1 OR shards = 1)),
  CONSTRAINT ck_chart_enforced_is_sync CHECK (min_available IS NULL OR contention = 0));

CREATE TABLE ledger.book (
  merchant_id uuid NOT NULL,
  closed_through date,                -- nothing is posted with an effective date up to here
  opened_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT pk_book PRIMARY KEY (merchant_id));

CREATE TABLE ledger.account (
  merchant_id uuid NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  code text NOT NULL,
  owner_type text NOT NULL DEFAULT '',   -- '' and the nil uuid: the book itself owns it. NULL could not be looked up by an index.
  owner_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  currency text NOT NULL,
  class smallint NOT NULL,
  normal_side smallint NOT NULL,
  contention smallint NOT NULL,
  shards smallint NOT NULL,
  must_clear boolean NOT NULL,
  status smallint NOT NULL DEFAULT 1,    -- 1 open 2 nothing may leave 3 nothing may move 4 closed
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT pk_account PRIMARY KEY (merchant_id, id),
  CONSTRAINT uq_account_merchant_id_id_currency UNIQUE (merchant_id, id, currency),
  CONSTRAINT uq_account_merchant_id_code_owner_type_owner_id_currency UNIQUE (merchant_id, code, owner_type, owner_id, currency),
  CONSTRAINT fk_account_merchant_id_book FOREIGN KEY (merchant_id) REFERENCES ledger.book (merchant_id),
  CONSTRAINT fk_account_code_chart FOREIGN KEY (code) REFERENCES ledger.chart (code),
  CONSTRAINT fk_account_currency_currency FOREIGN KEY (currency) REFERENCES ledger.currency (code),
  CONSTRAINT ck_account_owner CHECK ((owner_type = '') = (owner_id = '00000000-0000-0000-0000-000000000000')),
  CONSTRAINT ck_account_class CHECK (class BETWEEN 1 AND 6),
  CONSTRAINT ck_account_normal_side CHECK (normal_side IN (1, -1)),
  CONSTRAINT ck_account_contention CHECK (contention IN (0, 1, 2)),
  CONSTRAINT ck_account_shards CHECK (shards BETWEEN 1 AND 64 AND (contention = 1 OR shards = 1)),
  CONSTRAINT ck_account_status CHECK (status BETWEEN 1 AND 4));

-- The hot table: only the key is indexed and half of each page is free, so that every update stays on its page.
CREATE TABLE ledger.balance (
  merchant_id uuid NOT NULL,
  account_id bigint NOT NULL,
  shard smallint NOT NULL DEFAULT 0,
  normal_side smallint NOT NULL,
  min_available bigint,
  debits_posted bigint NOT NULL DEFAULT 0,
  credits_posted bigint NOT NULL DEFAULT 0,
  debits_pending bigint NOT NULL DEFAULT 0,
  credits_pending bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT pk_balance PRIMARY KEY (merchant_id, account_id, shard),
  CONSTRAINT fk_balance_merchant_id_account_id_account FOREIGN KEY (merchant_id, account_id) REFERENCES ledger.account (merchant_id, id),
  CONSTRAINT ck_balance_debits_posted CHECK (debits_posted >= 0),
  CONSTRAINT ck_balance_credits_posted CHECK (credits_posted >= 0),
  CONSTRAINT ck_balance_debits_pending CHECK (debits_pending >= 0),
  CONSTRAINT ck_balance_credits_pending CHECK (credits_pending >= 0),
  CONSTRAINT ck_balance_enforced_is_not_sharded CHECK (min_available IS NULL OR shard = 0),
  CONSTRAINT ck_balance_no_overdraft CHECK (min_available IS NULL OR
    CASE WHEN normal_side = -1 THEN credits_posted - debits_posted - debits_pending
         ELSE debits_posted - credits_posted - credits_pending END >= min_available)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE ledger.txn (
  merchant_id uuid NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL,
  template_version smallint NOT NULL DEFAULT 1,
  source_type text NOT NULL,          -- the business object that caused it
  source_id uuid NOT NULL,
  event_key text NOT NULL,            -- natural idempotency: 'capture:1', 'refund:…:confirmed'
  req_hash bytea NOT NULL,            -- the same key with other content is refused
  phase smallint NOT NULL DEFAULT 0,  -- 0 posted 1 held 2 posts a hold 3 releases a hold
  pending_txn_id bigint,
  reverses_txn_id bigint,
  effective_on date NOT NULL,
  posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),   -- ids become visible out of order; watermarks compare this
  actor_kind text,
  actor_id uuid,
  request_id text,
  description text,
  meta jsonb,
  CONSTRAINT pk_txn PRIMARY KEY (merchant_id, id),
  CONSTRAINT uq_txn_merchant_id_source_type_source_id_event_key UNIQUE (merchant_id, source_type, source_id, event_key),
  CONSTRAINT fk_txn_merchant_id_pending_txn_id_txn FOREIGN KEY (merchant_id, pending_txn_id) REFERENCES ledger.txn (merchant_id, id),
  CONSTRAINT fk_txn_merchant_id_reverses_txn_id_txn FOREIGN KEY (merchant_id, reverses_txn_id) REFERENCES ledger.txn (merchant_id, id),
  CONSTRAINT ck_txn_phase CHECK (phase BETWEEN 0 AND 3 AND (phase >= 2) = (pending_txn_id IS NOT NULL)),
  CONSTRAINT ck_txn_event_key CHECK (length(event_key) BETWEEN 1 AND 200)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.01);
CREATE UNIQUE INDEX uq_txn_merchant_id_reverses_txn_id ON ledger.txn (merchant_id, reverses_txn_id) WHERE reverses_txn_id IS NOT NULL;
CREATE UNIQUE INDEX uq_txn_merchant_id_pending_txn_id ON ledger.txn (merchant_id, pending_txn_id) WHERE pending_txn_id IS NOT NULL;

CREATE TABLE ledger.entry (
  merchant_id uuid NOT NULL,
  txn_id bigint NOT NULL,
  line smallint NOT NULL,
  phase smallint NOT NULL DEFAULT 0,
  account_id bigint NOT NULL,
  currency text NOT NULL,
  side smallint NOT NULL,             -- 1 debit, -1 credit; the amount is always positive
  amount bigint NOT NULL,
  effective_on date NOT NULL,
  clear_key text,                     -- what this line is expected to clear against
  CONSTRAINT pk_entry PRIMARY KEY (merchant_id, txn_id, line),
  CONSTRAINT fk_entry_merchant_id_txn_id_txn FOREIGN KEY (merchant_id, txn_id) REFERENCES ledger.txn (merchant_id, id),
  CONSTRAINT fk_entry_merchant_id_account_id_currency_account FOREIGN KEY (merchant_id, account_id, currency)
    REFERENCES ledger.account (merchant_id, id, currency),
  CONSTRAINT ck_entry_side CHECK (side IN (1, -1)),
  CONSTRAINT ck_entry_amount CHECK (amount > 0),
  CONSTRAINT ck_entry_phase CHECK (phase BETWEEN 0 AND 3)
) PARTITION BY RANGE (txn_id);
CREATE INDEX ix_entry_merchant_id_account_id_txn_id_line ON ledger.entry (merchant_id, account_id, txn_id, line) INCLUDE (side, amount, phase);
CREATE INDEX ix_entry_merchant_id_account_id_clear_key ON ledger.entry (merchant_id, account_id, clear_key) WHERE clear_key IS NOT NULL;
-- Effective dates follow the order of insertion closely, so a block range index finds a period at almost no cost.
CREATE INDEX ix_entry_effective_on ON ledger.entry USING brin (effective_on);

-- Changes of deferred accounts, waiting to be rolled up into their balance row. A balance read adds what is outstanding.
CREATE TABLE ledger.balance_delta (
  merchant_id uuid NOT NULL,
  account_id bigint NOT NULL,
  txn_id bigint NOT NULL,
  line smallint NOT NULL DEFAULT 1,
  debits bigint NOT NULL,
  credits bigint NOT NULL,
  debits_pending bigint NOT NULL DEFAULT 0,
  credits_pending bigint NOT NULL DEFAULT 0,
  CONSTRAINT pk_balance_delta PRIMARY KEY (merchant_id, account_id, txn_id, line)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE ledger.balance_snapshot (
  merchant_id uuid NOT NULL,
  account_id bigint NOT NULL,
  as_of date NOT NULL,
  debits bigint NOT NULL,
  credits bigint NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT pk_balance_snapshot PRIMARY KEY (merchant_id, account_id, as_of),
  CONSTRAINT fk_balance_snapshot_merchant_id_account_id_account FOREIGN KEY (merchant_id, account_id)
    REFERENCES ledger.account (merchant_id, id));
