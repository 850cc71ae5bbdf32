-- The ledger's guards and writers as they were before ledger_quick_guards.sql and ledger_quick_post.sql.

ALTER TABLE ledger.entry
  ADD CONSTRAINT fk_entry_merchant_id_txn_id_txn FOREIGN KEY (merchant_id, txn_id) REFERENCES ledger.txn (merchant_id, id),
  ADD CONSTRAINT fk_entry_merchant_id_account_id_currency_account FOREIGN KEY (merchant_id, account_id, currency)
    REFERENCES ledger.account (merchant_id, id, currency);

CREATE OR REPLACE FUNCTION ledger.check_statement() RETURNS trigger LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  IF EXISTS (SELECT FROM inserted GROUP BY merchant_id, txn_id, currency HAVING sum(side * amount) <> 0) THEN
    RAISE EXCEPTION 'the transaction is not balanced' USING ERRCODE = '23514', CONSTRAINT = 'ledger_balanced';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger.check_transaction() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE v_lines int; v_unbalanced int;
BEGIN
  SELECT coalesce(sum(lines), 0), count(*) FILTER (WHERE net <> 0) INTO v_lines, v_unbalanced FROM (
    SELECT count(*) AS lines, sum(side * amount) AS net FROM entry WHERE merchant_id = NEW.merchant_id AND txn_id = NEW.id GROUP BY currency) sums;
  IF v_lines < 2 OR v_unbalanced > 0 THEN
    RAISE EXCEPTION 'transaction % is incomplete or not balanced', NEW.id USING ERRCODE = '23514', CONSTRAINT = 'ledger_complete';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger.post1(p_merchant uuid, p_kind text, p_source_type text, p_source_id uuid, p_event_key text, p_effective_on date,
  e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[], e_side smallint[], e_amount bigint[], e_clear_key text[] DEFAULT NULL,
  p_actor_kind text DEFAULT NULL, p_actor_id uuid DEFAULT NULL, p_request_id text DEFAULT NULL, p_description text DEFAULT NULL,
  p_reverses bigint DEFAULT NULL, p_template_version smallint DEFAULT 1) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE v_id bigint; v_hash bytea; v record; v_closed date; v_kind text; v_debits bigint := 0; v_credits bigint := 0; n int := cardinality(e_code);
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN PERFORM ledger.enter(p_merchant); END IF;
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217));
  -- when it was booked and by whom is not part of what was asked for: a retry after midnight is the same event
  v_hash := sha256(convert_to(concat_ws('|', p_kind, p_reverses, e_code::text, e_owner_type::text, e_owner_id::text, e_currency::text,
    e_side::text, e_amount::text, e_clear_key::text), 'UTF8'));
  FOR attempt IN 1..2 LOOP   -- the lines in ascending account id, the order in which balances are locked
    SELECT array_agg(a.id ORDER BY a.id) AS ids, array_agg(l.n::smallint ORDER BY a.id) AS lines, array_agg(l.currency ORDER BY a.id) AS currencies,
           array_agg(l.side ORDER BY a.id) AS sides, array_agg(l.amount ORDER BY a.id) AS amounts, array_agg(l.clear_key ORDER BY a.id) AS keys,
           array_agg(a.contention ORDER BY a.id) AS contention, array_agg(a.shards ORDER BY a.id) AS shards, bool_and(a.status = 1) AS all_open INTO v
      FROM unnest(e_code, e_owner_type, e_owner_id, e_currency, e_side, e_amount, e_clear_key)
           WITH ORDINALITY l(code, owner_type, owner_id, currency, side, amount, clear_key, n)
      LEFT JOIN LATERAL (SELECT id, contention, shards, status FROM account WHERE merchant_id = p_merchant AND code = l.code
        AND owner_type = coalesce(l.owner_type, '') AND owner_id = coalesce(l.owner_id, '00000000-0000-0000-0000-000000000000')
        AND currency = l.currency LIMIT 1) a ON true;
    EXIT WHEN v.ids[n] IS NOT NULL OR n = 0;   -- what is missing sorts last
    PERFORM ledger.open_accounts(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
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
  IF NOT v.all_open THEN PERFORM ledger.refuse_frozen(p_merchant, v.ids, v.sides, v.amounts); END IF;
  WITH written AS (
    INSERT INTO entry (merchant_id, txn_id, line, account_id, currency, side, amount, effective_on, clear_key)
      SELECT p_merchant, v_id, line, account_id, currency, side, amount, p_effective_on, clear_key
        FROM unnest(v.ids, v.lines, v.currencies, v.sides, v.amounts, v.keys) l(account_id, line, currency, side, amount, clear_key))
  INSERT INTO balance_delta (merchant_id, account_id, txn_id, line, debits, credits)
    SELECT p_merchant, account_id, v_id, line, CASE WHEN side = 1 THEN amount ELSE 0 END, CASE WHEN side = -1 THEN amount ELSE 0 END
      FROM unnest(v.ids, v.lines, v.sides, v.amounts, v.contention) l(account_id, line, side, amount, contention) WHERE contention = 2;
  FOR i IN 1..n LOOP
    CONTINUE WHEN v.contention[i] = 2;
    IF v.sides[i] = 1 THEN v_debits := v_debits + v.amounts[i]; ELSE v_credits := v_credits + v.amounts[i]; END IF;
    CONTINUE WHEN i < n AND v.ids[i + 1] = v.ids[i];   -- several lines of one account change its balance once
    UPDATE balance SET debits_posted = debits_posted + v_debits, credits_posted = credits_posted + v_credits, version = version + 1,
        updated_at = clock_timestamp()
      WHERE merchant_id = p_merchant AND account_id = v.ids[i] AND shard = CASE WHEN v.shards[i] > 1 THEN v_id % v.shards[i] ELSE 0 END;
    IF NOT FOUND THEN RAISE EXCEPTION 'account % has no balance row', v.ids[i]; END IF;
    v_debits := 0; v_credits := 0;
  END LOOP;
  RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION ledger.apply(p_merchant uuid, p_txn bigint, e_account bigint[], e_contention smallint[], e_shards smallint[], e_side smallint[],
  e_amount bigint[]) RETURNS void LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE r record;
BEGIN
  IF 2 = ANY (e_contention) THEN
    INSERT INTO balance_delta (merchant_id, account_id, txn_id, debits, credits)
      SELECT p_merchant, account_id, p_txn, coalesce(sum(amount) FILTER (WHERE side = 1), 0), coalesce(sum(amount) FILTER (WHERE side = -1), 0)
        FROM unnest(e_account, e_contention, e_side, e_amount) l(account_id, contention, side, amount) WHERE contention = 2 GROUP BY account_id;
  END IF;
  FOR r IN SELECT account_id, (CASE WHEN shards > 1 THEN p_txn % shards ELSE 0 END)::smallint AS shard,
        coalesce(sum(amount) FILTER (WHERE side = 1), 0)::bigint AS debits, coalesce(sum(amount) FILTER (WHERE side = -1), 0)::bigint AS credits
      FROM unnest(e_account, e_contention, e_shards, e_side, e_amount) l(account_id, contention, shards, side, amount)
      WHERE contention < 2 GROUP BY account_id, shards ORDER BY account_id LOOP
    UPDATE balance SET debits_posted = debits_posted + r.debits, credits_posted = credits_posted + r.credits,
        version = version + 1, updated_at = clock_timestamp()
      WHERE merchant_id = p_merchant AND account_id = r.account_id AND shard = r.shard;
    IF NOT FOUND THEN RAISE EXCEPTION 'account % has no balance row', r.account_id; END IF;
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION ledger.post(p_merchant uuid, p_kind text[], p_source_type text[], p_source_id uuid[], p_event_key text[], p_effective_on date[],
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
