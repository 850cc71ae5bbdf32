-- The ledger's writers once more, with less to set up: a statement for one row costs a third of one that joins arrays, and a plain expression
-- a fiftieth. What they check, write and return is what ledger_post.sql and ledger_post_many.sql say.

-- Bring posted amounts to the balances: a delta row for deferred accounts, then the locked rows. They are locked by ascending account id: with
-- nested loops and index scans alone there is no plan that visits them in another order.
CREATE OR REPLACE FUNCTION ledger.apply(p_merchant uuid, p_txn bigint, e_account bigint[], e_contention smallint[], e_shards smallint[],
  e_side smallint[], e_amount bigint[]) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE v_missing bigint;
BEGIN
  WITH sums AS MATERIALIZED (
    SELECT account_id, contention, (CASE WHEN contention = 1 THEN p_txn % shards ELSE 0 END)::smallint AS shard,
           coalesce(sum(amount) FILTER (WHERE side = 1), 0)::bigint AS debits, coalesce(sum(amount) FILTER (WHERE side = -1), 0)::bigint AS credits
      FROM unnest(e_account, e_contention, e_shards, e_side, e_amount) l(account_id, contention, shards, side, amount)
     GROUP BY account_id, contention, shards ORDER BY account_id),
  deferred AS (
    INSERT INTO balance_delta (merchant_id, account_id, txn_id, debits, credits)
      SELECT p_merchant, account_id, p_txn, debits, credits FROM sums WHERE contention = 2 RETURNING account_id),
  changed AS (
    UPDATE balance b SET debits_posted = b.debits_posted + s.debits, credits_posted = b.credits_posted + s.credits,
        version = b.version + 1, updated_at = clock_timestamp()
      FROM (SELECT * FROM sums WHERE contention < 2 ORDER BY account_id) s
     WHERE b.merchant_id = p_merchant AND b.account_id = s.account_id AND b.shard = s.shard RETURNING b.account_id)
  SELECT account_id INTO v_missing FROM sums WHERE contention < 2 AND (SELECT count(*) FROM changed) <> (SELECT count(*) FROM sums WHERE contention < 2)
     AND account_id NOT IN (SELECT account_id FROM changed) LIMIT 1;
  IF FOUND THEN RAISE EXCEPTION 'account % has no balance row', v_missing; END IF;
END $$;

CREATE OR REPLACE FUNCTION ledger.post1(p_merchant uuid, p_kind text, p_source_type text, p_source_id uuid, p_event_key text, p_effective_on date,
  e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[], e_side smallint[], e_amount bigint[], e_clear_key text[] DEFAULT NULL,
  p_actor_kind text DEFAULT NULL, p_actor_id uuid DEFAULT NULL, p_request_id text DEFAULT NULL, p_description text DEFAULT NULL,
  p_reverses bigint DEFAULT NULL, p_template_version smallint DEFAULT 1) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE n int := cardinality(e_code); i int := 1; v_opened boolean := false; v_id bigint; v_hash bytea; v_closed date; v_kind text;
  v_account bigint; v_mode smallint; v_parts smallint; v_status smallint; v_debits bigint; v_credits bigint; v_done bigint := 0;
  v_accounts bigint[]; v_modes smallint[]; v_shards smallint[]; v_all_open boolean := true; v_deferred boolean := false;
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN PERFORM ledger.enter(p_merchant); END IF;
  v_kind := pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217))::text;   -- as an expression: a statement costs more than the lock
  -- when it was booked and by whom is not part of what was asked for: a retry after midnight is the same event
  v_hash := sha256(convert_to(concat_ws('|', p_kind, p_reverses, e_code::text, e_owner_type::text, e_owner_id::text, e_currency::text,
    e_side::text, e_amount::text, e_clear_key::text), 'UTF8'));
  WHILE i <= n LOOP
    SELECT id, contention, shards, status INTO v_account, v_mode, v_parts, v_status FROM account WHERE merchant_id = p_merchant AND code = e_code[i]
      AND owner_type = coalesce(e_owner_type[i], '') AND owner_id = coalesce(e_owner_id[i], '00000000-0000-0000-0000-000000000000')
      AND currency = e_currency[i];
    IF v_account IS NULL THEN   -- all that are missing, in one order; then this line again
      IF v_opened THEN RAISE EXCEPTION 'an account could not be opened' USING ERRCODE = '23503', CONSTRAINT = 'ledger_chart'; END IF;
      PERFORM ledger.open_accounts(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
      v_opened := true; CONTINUE;
    END IF;
    v_accounts[i] := v_account; v_modes[i] := v_mode; v_shards[i] := v_parts;
    IF v_status <> 1 THEN v_all_open := false; END IF;
    i := i + 1;
  END LOOP;
  INSERT INTO txn (merchant_id, kind, template_version, source_type, source_id, event_key, req_hash, reverses_txn_id, effective_on,
      actor_kind, actor_id, request_id, description)
    VALUES (p_merchant, p_kind, p_template_version, p_source_type, p_source_id, p_event_key, v_hash, p_reverses, p_effective_on,
      p_actor_kind, p_actor_id, p_request_id, p_description)
    ON CONFLICT (merchant_id, source_type, source_id, event_key) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NULL THEN
    RETURN (ledger.posted_before(p_merchant, ARRAY[p_source_type], ARRAY[p_source_id], ARRAY[p_event_key], ARRAY[v_hash]))[1];
  END IF;
  SELECT closed_through, (SELECT code FROM txn_kind WHERE code = p_kind) INTO v_closed, v_kind FROM book WHERE merchant_id = p_merchant;
  IF v_kind IS NULL OR v_closed >= p_effective_on THEN PERFORM ledger.refuse_closed(p_merchant, p_kind, p_effective_on); END IF;
  IF NOT v_all_open THEN PERFORM ledger.refuse_frozen(p_merchant, v_accounts, e_side, e_amount); END IF;
  WITH written AS (
    INSERT INTO entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on, clear_key)
      SELECT p_merchant, v_id, line, account_id, currency, side, amount, p_effective_on, clear_key
        FROM unnest(v_accounts, e_currency, e_side, e_amount, e_clear_key) WITH ORDINALITY l(account_id, currency, side, amount, clear_key, line))
  INSERT INTO balance_delta (merchant_id, account_id, txn_id, line, debits, credits)
    SELECT p_merchant, account_id, v_id, line, CASE WHEN side = 1 THEN amount ELSE 0 END, CASE WHEN side = -1 THEN amount ELSE 0 END
      FROM unnest(v_accounts, e_side, e_amount, v_modes) WITH ORDINALITY l(account_id, side, amount, contention, line) WHERE contention = 2;
  LOOP   -- the balances, by ascending account id; several lines of one account change its balance once
    v_account := NULL;
    FOR i IN 1..n LOOP
      CONTINUE WHEN v_modes[i] = 2 OR v_accounts[i] <= v_done OR v_accounts[i] > v_account;
      IF v_account IS DISTINCT FROM v_accounts[i] THEN v_account := v_accounts[i]; v_parts := v_shards[i]; v_debits := 0; v_credits := 0; END IF;
      IF e_side[i] = 1 THEN v_debits := v_debits + e_amount[i]; ELSE v_credits := v_credits + e_amount[i]; END IF;
    END LOOP;
    EXIT WHEN v_account IS NULL;
    UPDATE balance SET debits_posted = debits_posted + v_debits, credits_posted = credits_posted + v_credits, version = version + 1,
        updated_at = clock_timestamp()
      WHERE merchant_id = p_merchant AND account_id = v_account AND shard = CASE WHEN v_parts > 1 THEN v_id % v_parts ELSE 0 END;
    IF NOT FOUND THEN RAISE EXCEPTION 'account % has no balance row', v_account; END IF;
    v_done := v_account;
  END LOOP;
  RETURN v_id;
END $$;

-- The ids are taken before the headers are written, so that a line finds its transaction by place; what was posted before gives its id back.
CREATE OR REPLACE FUNCTION ledger.post(p_merchant uuid, p_kind text[], p_source_type text[], p_source_id uuid[], p_event_key text[], p_effective_on date[],
  e_t int[], e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[], e_side smallint[], e_amount bigint[],
  e_clear_key text[] DEFAULT NULL, p_actor_kind text[] DEFAULT NULL, p_actor_id uuid[] DEFAULT NULL, p_request_id text[] DEFAULT NULL,
  p_description text[] DEFAULT NULL) RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_ids bigint[]; v_hash bytea[]; v_new bigint[]; v_fresh bigint[]; v record; n int := cardinality(p_source_id); v_lock text;
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN PERFORM ledger.enter(p_merchant); END IF;
  v_lock := pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217))::text;
  v_hash := ledger.hash_lines(p_kind, e_t, e_code, e_owner_type, e_owner_id, e_currency, e_side, e_amount, e_clear_key);
  SELECT * INTO v FROM ledger.resolve_many(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
  FOR i IN 1..n LOOP v_ids[i] := nextval('ledger.txn_id_seq'); END LOOP;
  WITH header AS (
    INSERT INTO txn (id, merchant_id, kind, source_type, source_id, event_key, req_hash, effective_on, actor_kind, actor_id, request_id, description)
    OVERRIDING SYSTEM VALUE
    SELECT h.id, p_merchant, h.kind, h.source_type, h.source_id, h.event_key, h.hash, h.effective_on, h.actor_kind, h.actor_id, h.request_id, h.description
      FROM unnest(v_ids, p_kind, p_source_type, p_source_id, p_event_key, v_hash, p_effective_on, p_actor_kind, p_actor_id, p_request_id, p_description)
           h(id, kind, source_type, source_id, event_key, hash, effective_on, actor_kind, actor_id, request_id, description)
     ORDER BY h.source_type, h.source_id, h.event_key   -- one order everywhere: two overlapping batches wait, they do not deadlock
    ON CONFLICT (merchant_id, source_type, source_id, event_key) DO NOTHING RETURNING id)
  SELECT array_agg(id) INTO v_new FROM header;
  v_fresh := v_ids;
  IF cardinality(v_new) IS DISTINCT FROM n THEN   -- a line of a transaction that was posted before has none to belong to
    v_ids := ledger.posted_before(p_merchant, p_source_type, p_source_id, p_event_key, v_hash);
    IF v_new IS NULL THEN RETURN v_ids; END IF;
    v_fresh := ARRAY(SELECT fresh.id FROM unnest(v_fresh) WITH ORDINALITY l(id, o) LEFT JOIN unnest(v_new) fresh(id) ON fresh.id = l.id ORDER BY l.o);
  END IF;
  PERFORM ledger.refuse_closed(p_merchant, h.kind, h.effective_on)
     FROM (SELECT kind, min(effective_on) AS effective_on FROM unnest(p_kind, p_effective_on, v_fresh) u(kind, effective_on, id)
            WHERE id IS NOT NULL GROUP BY kind) h;
  INSERT INTO entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on, clear_key)
    SELECT p_merchant, v_fresh[t], row_number() OVER (PARTITION BY t ORDER BY o), account_id, currency, side, amount, p_effective_on[t], clear_key
      FROM unnest(e_t, v.o_account, e_currency, e_side, e_amount, e_clear_key) WITH ORDINALITY l(t, account_id, currency, side, amount, clear_key, o)
     WHERE v_fresh[t] IS NOT NULL;
  IF v.o_all_open AND cardinality(v_new) = n THEN
    PERFORM ledger.apply(p_merchant, v_ids[n], v.o_account, v.o_contention, v.o_shards, e_side, e_amount);
  ELSE
    PERFORM ledger.apply_fresh(p_merchant, ARRAY(SELECT v_fresh[t] FROM unnest(e_t) t), v.o_account, v.o_contention, v.o_shards, e_side, e_amount,
      v.o_all_open);
  END IF;
  RETURN v_ids;
END $$;
