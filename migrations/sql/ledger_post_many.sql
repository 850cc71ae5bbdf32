-- Many transactions in one call: balances are added up per account, so a batch on one wallet updates it once.

-- p_*: one element per transaction. e_t: which transaction (1-based) a line belongs to; the other e_* as in post1.
CREATE FUNCTION ledger.post(p_merchant uuid, p_kind text[], p_source_type text[], p_source_id uuid[], p_event_key text[], p_effective_on date[],
  e_t int[], e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[], e_side smallint[], e_amount bigint[],
  e_clear_key text[] DEFAULT NULL, p_actor_kind text[] DEFAULT NULL, p_actor_id uuid[] DEFAULT NULL, p_request_id text[] DEFAULT NULL,
  p_description text[] DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_ids bigint[]; v_hash bytea[]; v_new bigint[]; v_line_txn bigint[]; v record; n int := cardinality(p_source_id);
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN PERFORM ledger.enter(p_merchant); END IF;
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217));
  v_hash := ledger.hash_lines(p_kind, e_t, e_code, e_owner_type, e_owner_id, e_currency, e_side, e_amount, e_clear_key);
  SELECT * INTO v FROM ledger.resolve_many(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
  WITH header AS (
    INSERT INTO txn (merchant_id, kind, source_type, source_id, event_key, req_hash, effective_on, actor_kind, actor_id, request_id, description)
    SELECT p_merchant, h.kind, h.source_type, h.source_id, h.event_key, h.hash, h.effective_on, h.actor_kind, h.actor_id, h.request_id, h.description
      FROM unnest(p_kind, p_source_type, p_source_id, p_event_key, v_hash, p_effective_on, p_actor_kind, p_actor_id, p_request_id, p_description)
           WITH ORDINALITY h(kind, source_type, source_id, event_key, hash, effective_on, actor_kind, actor_id, request_id, description, n)
     ORDER BY h.source_type, h.source_id, h.event_key   -- one order everywhere: two overlapping batches wait, they do not deadlock
    ON CONFLICT (merchant_id, source_type, source_id, event_key) DO NOTHING RETURNING id)
  SELECT array_agg(id) INTO v_new FROM header;
  v_ids := ledger.posted_before(p_merchant, p_source_type, p_source_id, p_event_key, v_hash);
  IF v_new IS NULL THEN RETURN v_ids; END IF;
  PERFORM ledger.refuse_closed(p_merchant, h.kind, h.effective_on)
     FROM (SELECT kind, min(effective_on) AS effective_on FROM unnest(p_kind, p_effective_on, v_ids) u(kind, effective_on, id)
             JOIN unnest(v_new) fresh(id) USING (id) GROUP BY kind) h;
  -- only the first of equal events in one call is new: the others are the same event again
  SELECT array_agg(t.id ORDER BY l.n) INTO v_line_txn FROM unnest(e_t) WITH ORDINALITY l(t, n)
    JOIN (SELECT i.o, CASE WHEN fresh.id IS NOT NULL AND i.o = min(i.o) OVER (PARTITION BY i.id) THEN i.id END AS id
            FROM unnest(v_ids) WITH ORDINALITY i(id, o) LEFT JOIN unnest(v_new) fresh(id) ON fresh.id = i.id) t ON t.o = l.t;
  PERFORM ledger.write_lines(p_merchant, v_line_txn, p_effective_on, e_t, v.o_account, e_currency, e_side, e_amount, e_clear_key);
  PERFORM ledger.apply_fresh(p_merchant, v_line_txn, v.o_account, v.o_contention, v.o_shards, e_side, e_amount, v.o_all_open);
  RETURN v_ids;
END $$;

-- One hash per transaction, over what post1 hashes, so that either function recognises what the other posted.
CREATE FUNCTION ledger.hash_lines(p_kind text[], e_t int[], e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[],
  e_side smallint[], e_amount bigint[], e_clear_key text[]) RETURNS bytea[] LANGUAGE sql SET search_path = ledger, pg_temp AS $$
  SELECT array_agg(sha256(convert_to(concat_ws('|', p_kind[t], codes::text, owner_types::text, owners::text, currencies::text,
      sides::text, amounts::text, CASE WHEN e_clear_key IS NOT NULL THEN keys::text END), 'UTF8')) ORDER BY t)
    FROM (SELECT t, array_agg(code ORDER BY n) AS codes, array_agg(ot ORDER BY n) AS owner_types, array_agg(oi ORDER BY n) AS owners,
                 array_agg(currency ORDER BY n) AS currencies, array_agg(side ORDER BY n) AS sides, array_agg(amount ORDER BY n) AS amounts,
                 array_agg(key ORDER BY n) AS keys
            FROM unnest(e_t, e_code, e_owner_type, e_owner_id, e_currency, e_side, e_amount, e_clear_key)
                 WITH ORDINALITY l(t, code, ot, oi, currency, side, amount, key, n) GROUP BY t) per_txn $$;

-- As ledger.resolve, looking each distinct account up once.
CREATE FUNCTION ledger.resolve_many(p_merchant uuid, e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[],
  OUT o_account bigint[], OUT o_contention smallint[], OUT o_shards smallint[], OUT o_all_open boolean)
LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  IF cardinality(e_code) <= 40 THEN
    SELECT * INTO o_account, o_contention, o_shards, o_all_open FROM ledger.resolve(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
    RETURN;
  END IF;
  FOR attempt IN 1..2 LOOP
    WITH line AS MATERIALIZED (
      SELECT code, coalesce(ot, '') AS ot, coalesce(oi, '00000000-0000-0000-0000-000000000000') AS oi, currency, n
        FROM unnest(e_code, e_owner_type, e_owner_id, e_currency) WITH ORDINALITY l(code, ot, oi, currency, n)),
    found AS MATERIALIZED (
      SELECT d.*, a.id, a.contention, a.shards, a.status FROM (SELECT DISTINCT code, ot, oi, currency FROM line) d
        LEFT JOIN LATERAL (SELECT id, contention, shards, status FROM account WHERE merchant_id = p_merchant AND code = d.code
          AND owner_type = d.ot AND owner_id = d.oi AND currency = d.currency LIMIT 1) a ON true)
    SELECT array_agg(f.id ORDER BY l.n), array_agg(f.contention ORDER BY l.n), array_agg(f.shards ORDER BY l.n), bool_and(f.status = 1)
      INTO o_account, o_contention, o_shards, o_all_open
      FROM line l JOIN found f ON (f.code, f.ot, f.oi, f.currency) = (l.code, l.ot, l.oi, l.currency);
    IF array_position(o_account, NULL) IS NULL THEN RETURN; END IF;
    PERFORM ledger.open_accounts(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
  END LOOP;
  RAISE EXCEPTION 'an account could not be opened' USING ERRCODE = '23503', CONSTRAINT = 'ledger_chart';
END $$;

-- The ids of these events, which must all exist with this content.
CREATE FUNCTION ledger.posted_before(p_merchant uuid, p_source_type text[], p_source_id uuid[], p_event_key text[], p_hash bytea[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
DECLARE v_ids bigint[]; v_same boolean;
BEGIN
  SELECT array_agg(t.id ORDER BY h.n), bool_and(t.req_hash = h.hash) INTO v_ids, v_same
    FROM unnest(p_source_type, p_source_id, p_event_key, p_hash) WITH ORDINALITY h(source_type, source_id, event_key, hash, n)
    LEFT JOIN LATERAL (SELECT id, req_hash FROM txn WHERE merchant_id = p_merchant AND source_type = h.source_type
      AND source_id = h.source_id AND event_key = h.event_key LIMIT 1) t ON true;
  IF v_same IS NOT TRUE THEN
    RAISE EXCEPTION 'an event was posted before with other content' USING ERRCODE = '23505', CONSTRAINT = 'ledger_idempotency';
  END IF;
  RETURN v_ids;
END $$;

-- Entries of the transactions that are new; e_txn is NULL for a line whose transaction was posted before.
CREATE FUNCTION ledger.write_lines(p_merchant uuid, e_txn bigint[], p_effective_on date[], e_t int[], e_account bigint[], e_currency text[],
  e_side smallint[], e_amount bigint[], e_clear_key text[]) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
BEGIN
  INSERT INTO entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on, clear_key)
  SELECT p_merchant, txn_id, row_number() OVER (PARTITION BY txn_id ORDER BY n), account_id, currency, side, amount, p_effective_on[t], clear_key
    FROM unnest(e_txn, e_t, e_account, e_currency, e_side, e_amount, e_clear_key)
         WITH ORDINALITY l(txn_id, t, account_id, currency, side, amount, clear_key, n)
   WHERE txn_id IS NOT NULL;
END $$;

CREATE FUNCTION ledger.apply_fresh(p_merchant uuid, e_txn bigint[], e_account bigint[], e_contention smallint[], e_shards smallint[],
  e_side smallint[], e_amount bigint[], p_all_open boolean) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
DECLARE v_txn bigint; v_account bigint[]; v_contention smallint[]; v_shards smallint[]; v_side smallint[]; v_amount bigint[];
BEGIN
  SELECT max(txn_id), array_agg(account_id), array_agg(contention), array_agg(shards), array_agg(side), array_agg(amount)
    INTO v_txn, v_account, v_contention, v_shards, v_side, v_amount
    FROM unnest(e_txn, e_account, e_contention, e_shards, e_side, e_amount) l(txn_id, account_id, contention, shards, side, amount)
   WHERE txn_id IS NOT NULL;
  IF NOT p_all_open THEN PERFORM ledger.refuse_frozen(p_merchant, v_account, v_side, v_amount); END IF;
  PERFORM ledger.apply(p_merchant, v_txn, v_account, v_contention, v_shards, v_side, v_amount);
END $$;
