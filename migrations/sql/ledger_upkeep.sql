-- Reversal, roll-up, snapshots and closing.

-- Reverse a transaction, once: the same lines on the opposite sides.
CREATE FUNCTION ledger.reverse(p_merchant uuid, p_txn bigint, p_kind text, p_event_key text, p_effective_on date, p_actor_kind text DEFAULT NULL,
  p_actor_id uuid DEFAULT NULL, p_request_id text DEFAULT NULL, p_description text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE o txn; l record;
BEGIN
  PERFORM ledger.enter(p_merchant);
  SELECT * INTO o FROM txn WHERE merchant_id = p_merchant AND id = p_txn AND phase = 0;
  IF NOT FOUND THEN RAISE EXCEPTION 'there is no transaction %', p_txn USING ERRCODE = '23503', CONSTRAINT = 'ledger_transaction'; END IF;
  SELECT array_agg(a.code ORDER BY e.line) AS codes, array_agg(a.owner_type ORDER BY e.line) AS owner_types,
         array_agg(a.owner_id ORDER BY e.line) AS owners, array_agg(e.currency ORDER BY e.line) AS currencies,
         array_agg((-e.side)::smallint ORDER BY e.line) AS sides, array_agg(e.amount ORDER BY e.line) AS amounts,
         array_agg(e.clear_key ORDER BY e.line) AS keys INTO l
    FROM entry e JOIN account a ON a.merchant_id = e.merchant_id AND a.id = e.account_id WHERE e.merchant_id = p_merchant AND e.txn_id = p_txn;
  RETURN ledger.post1(p_merchant, p_kind, o.source_type, o.source_id, p_event_key, p_effective_on, l.codes, l.owner_types, l.owners, l.currencies,
    l.sides, l.amounts, l.keys, p_actor_kind, p_actor_id, p_request_id, p_description, p_txn);
END $$;

-- Fold outstanding deltas into the balance rows; returns how many were folded. What is deleted is added in the same statement, so a reader
-- sees either all of it as deltas or all of it in the row.
CREATE FUNCTION ledger.roll_up(p_merchant uuid, p_limit int DEFAULT 50000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_done bigint;
BEGIN
  PERFORM ledger.enter(p_merchant);
  IF NOT pg_try_advisory_xact_lock(uuid_hash_extended(p_merchant, 4218)) THEN RETURN 0; END IF;   -- another worker is at it
  WITH taken AS (
    DELETE FROM balance_delta d USING (SELECT account_id, txn_id, line FROM balance_delta WHERE merchant_id = p_merchant LIMIT p_limit) w
     WHERE d.merchant_id = p_merchant AND d.account_id = w.account_id AND d.txn_id = w.txn_id AND d.line = w.line RETURNING d.*),
  summed AS (
    SELECT account_id, sum(debits)::bigint AS dr, sum(credits)::bigint AS cr, sum(debits_pending)::bigint AS dp, sum(credits_pending)::bigint AS cp,
           count(*) AS n FROM taken GROUP BY account_id),
  folded AS (
    UPDATE balance b SET debits_posted = debits_posted + dr, credits_posted = credits_posted + cr, debits_pending = debits_pending + dp,
           credits_pending = credits_pending + cp, version = version + n, updated_at = clock_timestamp()
      FROM summed s WHERE b.merchant_id = p_merchant AND b.account_id = s.account_id AND b.shard = 0 RETURNING n)
  SELECT coalesce(sum(n), 0) INTO v_done FROM folded;
  RETURN v_done;
END $$;

-- Which books have deltas waiting: the roll-up's work list, merchant ids and nothing else.
CREATE FUNCTION ledger.books_to_roll_up() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
  WITH RECURSIVE hop AS (
    (SELECT merchant_id FROM balance_delta ORDER BY merchant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.merchant_id FROM balance_delta d WHERE d.merchant_id > hop.merchant_id ORDER BY d.merchant_id LIMIT 1) FROM hop
     WHERE hop.merchant_id IS NOT NULL)
  SELECT merchant_id FROM hop WHERE merchant_id IS NOT NULL $$;

-- Close every day up to and including p_through and keep each account's sums of that day. Waits for postings in flight; moves only forwards.
CREATE FUNCTION ledger.close_period(p_merchant uuid, p_through date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE v_before date; v_kept bigint;
BEGIN
  PERFORM ledger.enter(p_merchant);
  PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_merchant, 4217));
  SELECT closed_through INTO v_before FROM book WHERE merchant_id = p_merchant;
  IF NOT FOUND THEN RAISE EXCEPTION 'merchant % has no book', p_merchant USING ERRCODE = '23503', CONSTRAINT = 'ledger_book'; END IF;
  IF v_before >= p_through THEN RETURN 0; END IF;
  UPDATE book SET closed_through = p_through WHERE merchant_id = p_merchant;
  INSERT INTO balance_snapshot (merchant_id, account_id, as_of, debits, credits)
    SELECT p_merchant, account_id, p_through, sum(debits), sum(credits) FROM (
      SELECT account_id, debits, credits FROM balance_snapshot WHERE merchant_id = p_merchant AND as_of = v_before
      UNION ALL
      SELECT account_id, CASE WHEN side = 1 THEN amount ELSE 0 END, CASE WHEN side = -1 THEN amount ELSE 0 END FROM entry
       WHERE merchant_id = p_merchant AND phase IN (0, 2) AND effective_on <= p_through AND (v_before IS NULL OR effective_on > v_before)) sums
     GROUP BY account_id;
  GET DIAGNOSTICS v_kept = ROW_COUNT;
  RETURN v_kept;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger TO countinghouse_app;
GRANT SELECT ON ledger.currency, ledger.provider_currency, ledger.txn_kind, ledger.chart, ledger.book, ledger.account, ledger.balance, ledger.txn,
  ledger.entry, ledger.balance_delta, ledger.balance_snapshot TO countinghouse_app;
GRANT EXECUTE ON FUNCTION ledger.open_book, ledger.open_account, ledger.set_account_status, ledger.lock_available, ledger.post1, ledger.post,
  ledger.hold, ledger.end_hold, ledger.reverse, ledger.roll_up, ledger.books_to_roll_up, ledger.close_period, ledger.ensure_partitions
  TO countinghouse_app;
