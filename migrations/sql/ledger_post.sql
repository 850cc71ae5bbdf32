-- The only writers of transactions. Flat typed arrays, one call, everything checked.
--
-- Locks, always in this order: the book's advisory lock (shared; closing a period takes it exclusively), accounts opened on first use
-- (sorted), the header's event key, then balance rows by ascending account id, as late as possible. One call per database transaction
-- keeps that order; several calls that touch the same wallets in different orders may deadlock.

CREATE FUNCTION ledger.resolve(p_merchant uuid, e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[],
  OUT o_account bigint[], OUT o_contention smallint[], OUT o_shards smallint[], OUT o_all_open boolean)
LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
  FOR attempt IN 1..2 LOOP
    SELECT array_agg(a.id ORDER BY l.n), array_agg(a.contention ORDER BY l.n), array_agg(a.shards ORDER BY l.n), bool_and(a.status = 1)
      INTO o_account, o_contention, o_shards, o_all_open
      FROM unnest(e_code, e_owner_type, e_owner_id, e_currency) WITH ORDINALITY l(code, owner_type, owner_id, currency, n)
      LEFT JOIN LATERAL (SELECT id, contention, shards, status FROM account WHERE merchant_id = p_merchant AND code = l.code
        AND owner_type = coalesce(l.owner_type, '') AND owner_id = coalesce(l.owner_id, '00000000-0000-0000-0000-000000000000')
        AND currency = l.currency LIMIT 1) a ON true;
    IF array_position(o_account, NULL) IS NULL THEN RETURN; END IF;
    PERFORM ledger.open_accounts(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
  END LOOP;
  RAISE EXCEPTION 'an account could not be opened' USING ERRCODE = '23503', CONSTRAINT = 'ledger_chart';
END $$;

-- A frozen account: 2 refuses what lowers it, 3 and 4 refuse everything.
CREATE FUNCTION ledger.refuse_frozen(p_merchant uuid, e_account bigint[], e_side smallint[], e_amount bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
DECLARE v_account bigint;
BEGIN
  SELECT a.id INTO v_account FROM unnest(e_account, e_side, e_amount) l(account_id, side, amount)
    JOIN account a ON a.merchant_id = p_merchant AND a.id = l.account_id
   GROUP BY a.id, a.status, a.normal_side HAVING a.status > 2 OR (a.status = 2 AND sum(l.side * l.amount * a.normal_side) < 0) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'account % is not open for this', v_account USING ERRCODE = '23514', CONSTRAINT = 'ledger_account_open', DETAIL = v_account::text;
  END IF;
END $$;

CREATE FUNCTION ledger.refuse_closed(p_merchant uuid, p_kind text, p_effective_on date) RETURNS void
LANGUAGE plpgsql SET search_path = ledger, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE v_closed date; v_kind text;
BEGIN
  SELECT closed_through, (SELECT code FROM txn_kind WHERE code = p_kind) INTO v_closed, v_kind FROM book WHERE merchant_id = p_merchant;
  IF NOT FOUND THEN RAISE EXCEPTION 'merchant % has no book', p_merchant USING ERRCODE = '23503', CONSTRAINT = 'ledger_book'; END IF;
  IF v_kind IS NULL THEN RAISE EXCEPTION 'there is no transaction kind %', p_kind USING ERRCODE = '23503', CONSTRAINT = 'ledger_kind'; END IF;
  IF v_closed >= p_effective_on THEN
    RAISE EXCEPTION 'the period through % is closed', v_closed USING ERRCODE = '23514', CONSTRAINT = 'ledger_period_open', DETAIL = v_closed::text;
  END IF;
END $$;

-- Post one transaction; returns its id. The same event again returns the id it had; the same event with other content is refused.
-- e_side: 1 debit, -1 credit. An owner of NULL is the book itself. Accounts are opened on first use from ledger.chart.
-- Written as one function without helpers on the usual path: each call of another function costs as much as an index look-up. The plans are
-- made once per session and never by scanning a table, however small it was when the session began.
CREATE FUNCTION ledger.post1(p_merchant uuid, p_kind text, p_source_type text, p_source_id uuid, p_event_key text, p_effective_on date,
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

-- Bring posted amounts to the balances: a delta row for deferred accounts, then the locked rows in ascending account id.
CREATE FUNCTION ledger.apply(p_merchant uuid, p_txn bigint, e_account bigint[], e_contention smallint[], e_shards smallint[], e_side smallint[],
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
