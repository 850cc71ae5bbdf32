-- Two-phase posting: a hold counts as pending and already lowers what is available; it is then posted (in full or in part) or released, once.

CREATE FUNCTION ledger.apply_pending(p_merchant uuid, p_txn bigint, p_hold bigint, p_sign int, p_posts boolean, e_post bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = ledger, pg_temp AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT e.account_id, a.contention, (CASE WHEN a.shards > 1 THEN p_hold % a.shards ELSE 0 END)::smallint AS shard,
        p_sign * coalesce(sum(e.amount) FILTER (WHERE e.side = 1), 0)::bigint AS held_debits,
        p_sign * coalesce(sum(e.amount) FILTER (WHERE e.side = -1), 0)::bigint AS held_credits,
        CASE WHEN p_posts THEN coalesce(sum(e_post[e.line]) FILTER (WHERE e.side = 1), 0) ELSE 0 END::bigint AS debits,
        CASE WHEN p_posts THEN coalesce(sum(e_post[e.line]) FILTER (WHERE e.side = -1), 0) ELSE 0 END::bigint AS credits
      FROM entry e JOIN account a ON a.merchant_id = e.merchant_id AND a.id = e.account_id
      WHERE e.merchant_id = p_merchant AND e.txn_id = p_hold GROUP BY e.account_id, a.contention, a.shards ORDER BY e.account_id LOOP
    IF r.contention = 2 THEN
      INSERT INTO balance_delta (merchant_id, account_id, txn_id, debits, credits, debits_pending, credits_pending)
        VALUES (p_merchant, r.account_id, p_txn, r.debits, r.credits, r.held_debits, r.held_credits);
    ELSE
      UPDATE balance SET debits_pending = debits_pending + r.held_debits, credits_pending = credits_pending + r.held_credits,
          debits_posted = debits_posted + r.debits, credits_posted = credits_posted + r.credits, version = version + 1, updated_at = clock_timestamp()
        WHERE merchant_id = p_merchant AND account_id = r.account_id AND shard = r.shard;
      IF NOT FOUND THEN RAISE EXCEPTION 'account % has no balance row', r.account_id; END IF;
    END IF;
  END LOOP;
END $$;

-- Hold: the same arguments as post1. Nothing is posted yet, but what is held cannot be spent.
CREATE FUNCTION ledger.hold(p_merchant uuid, p_kind text, p_source_type text, p_source_id uuid, p_event_key text, p_effective_on date,
  e_code text[], e_owner_type text[], e_owner_id uuid[], e_currency text[], e_side smallint[], e_amount bigint[], e_clear_key text[] DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_id bigint; v_hash bytea; v record;
BEGIN
  PERFORM ledger.enter(p_merchant);
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217));
  v_hash := sha256(convert_to(concat_ws('|', 'hold', p_kind, e_code::text, e_owner_type::text, e_owner_id::text, e_currency::text, e_side::text,
    e_amount::text, e_clear_key::text), 'UTF8'));
  SELECT * INTO v FROM ledger.resolve(p_merchant, e_code, e_owner_type, e_owner_id, e_currency);
  INSERT INTO txn (merchant_id, kind, source_type, source_id, event_key, req_hash, effective_on, phase)
    VALUES (p_merchant, p_kind, p_source_type, p_source_id, p_event_key, v_hash, p_effective_on, 1)
    ON CONFLICT (merchant_id, source_type, source_id, event_key) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NULL THEN
    RETURN (ledger.posted_before(p_merchant, ARRAY[p_source_type], ARRAY[p_source_id], ARRAY[p_event_key], ARRAY[v_hash]))[1];
  END IF;
  PERFORM ledger.refuse_closed(p_merchant, p_kind, p_effective_on);
  IF NOT v.o_all_open THEN PERFORM ledger.refuse_frozen(p_merchant, v.o_account, e_side, e_amount); END IF;
  INSERT INTO entry (merchant_id, txn_id, line, phase, account_id, currency, side, amount, effective_on, clear_key)
    SELECT p_merchant, v_id, n, 1, account_id, currency, side, amount, p_effective_on, clear_key
      FROM unnest(v.o_account, e_currency, e_side, e_amount, e_clear_key) WITH ORDINALITY l(account_id, currency, side, amount, clear_key, n);
  PERFORM ledger.apply_pending(p_merchant, v_id, v_id, 1, false, NULL);
  RETURN v_id;
END $$;

-- End a hold. p_amounts: what is posted per line of the hold, at most what was held; NULL releases it all and posts nothing.
CREATE FUNCTION ledger.end_hold(p_merchant uuid, p_hold bigint, p_event_key text, p_effective_on date, p_amounts bigint[] DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_id bigint; v_hash bytea; h txn; v_phase smallint := CASE WHEN p_amounts IS NULL THEN 3 ELSE 2 END;
BEGIN
  PERFORM ledger.enter(p_merchant);
  PERFORM pg_advisory_xact_lock_shared(uuid_hash_extended(p_merchant, 4217));
  SELECT * INTO h FROM txn WHERE merchant_id = p_merchant AND id = p_hold AND phase = 1;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no hold %', p_hold USING ERRCODE = '23503', CONSTRAINT = 'ledger_hold'; END IF;
  IF p_amounts IS NOT NULL AND (SELECT count(*) <> cardinality(p_amounts) OR NOT bool_and(coalesce(p_amounts[line] BETWEEN 1 AND amount, false))
      FROM entry WHERE merchant_id = p_merchant AND txn_id = p_hold) THEN
    RAISE EXCEPTION 'a hold is posted with one amount for each of its lines, at most what was held' USING ERRCODE = '23514', CONSTRAINT = 'ledger_held';
  END IF;
  v_hash := sha256(convert_to(concat_ws('|', 'end', p_hold, p_amounts::text), 'UTF8'));
  INSERT INTO txn (merchant_id, kind, source_type, source_id, event_key, req_hash, effective_on, phase, pending_txn_id)
    VALUES (p_merchant, h.kind, h.source_type, h.source_id, p_event_key, v_hash, p_effective_on, v_phase, p_hold)
    ON CONFLICT (merchant_id, source_type, source_id, event_key) DO NOTHING RETURNING id INTO v_id;
  IF v_id IS NULL THEN
    RETURN (ledger.posted_before(p_merchant, ARRAY[h.source_type], ARRAY[h.source_id], ARRAY[p_event_key], ARRAY[v_hash]))[1];
  END IF;
  PERFORM ledger.refuse_closed(p_merchant, h.kind, p_effective_on);
  INSERT INTO entry (merchant_id, txn_id, line, phase, account_id, currency, side, amount, effective_on, clear_key)
    SELECT merchant_id, v_id, line, v_phase, account_id, currency, side, coalesce(p_amounts[line], amount), p_effective_on, clear_key
      FROM entry WHERE merchant_id = p_merchant AND txn_id = p_hold ORDER BY line;
  PERFORM ledger.apply_pending(p_merchant, v_id, p_hold, -1, v_phase = 2, p_amounts);
  RETURN v_id;
END $$;
