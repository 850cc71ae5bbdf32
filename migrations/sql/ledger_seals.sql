-- What a block of transactions comes to: one hash over all of them with their lines, in order. Whoever changes, adds or removes one changes it.
CREATE FUNCTION ledger.content_hash(p_merchant uuid, p_after bigint, p_through bigint, OUT o_transactions bigint, OUT o_hash text)
LANGUAGE sql STABLE SET search_path = ledger, public, pg_temp AS $$
  WITH line AS (
    SELECT e.txn_id, string_agg(concat_ws('|', e.line, e.account_id, e.currency, e.side, e.amount, e.phase, e.effective_on, coalesce(e.clear_key, '')), E'\n' ORDER BY e.line) AS lines
      FROM entry e WHERE e.merchant_id = p_merchant AND e.txn_id > p_after AND e.txn_id <= p_through GROUP BY e.txn_id),
  hashed AS (
    SELECT t.id, sha256(convert_to(concat_ws('|', t.id, t.kind, t.source_type, t.source_id, t.event_key, encode(t.req_hash, 'hex'), t.phase, coalesce(t.pending_txn_id, 0),
             coalesce(t.reverses_txn_id, 0), t.effective_on, extract(epoch FROM t.posted_at), coalesce(t.actor_kind, ''), coalesce(t.actor_id::text, ''),
             coalesce(t.description, ''), coalesce(line.lines, '')), 'UTF8')) AS hash
      FROM txn t LEFT JOIN line ON line.txn_id = t.id WHERE t.merchant_id = p_merchant AND t.id > p_after AND t.id <= p_through)
  SELECT count(*), encode(sha256(coalesce(string_agg(hash, ''::bytea ORDER BY id), ''::bytea)), 'hex') FROM hashed
$$;

-- The merchants whose books have something unsealed that is old enough: ids only, so that a worker can then work inside each merchant's wall.
CREATE FUNCTION ledger.books_to_seal(p_before timestamptz) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
  SELECT b.merchant_id FROM book b WHERE EXISTS (SELECT FROM txn t WHERE t.merchant_id = b.merchant_id AND t.posted_at < p_before
    AND t.id > coalesce((SELECT max(s.through_txn) FROM seal s WHERE s.merchant_id = b.merchant_id), 0))
$$;
REVOKE ALL ON FUNCTION ledger.books_to_seal FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.books_to_seal, ledger.content_hash TO countinghouse_app;
