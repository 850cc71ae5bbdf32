-- Comparing what the ledger, the provider and the bank say. Every function is a whole pass over one merchant's items, in sets; what it decides
-- depends on nothing but the items and on what people decided, so the order in which files came changes nothing.

-- The uuid in a public id, from its last 26 characters; NULL when they are none.
CREATE FUNCTION public_uuid(id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN b ~ '^[0-7][0123456789abcdefghjkmnpqrstvwxyz]{25}$' THEN (lpad(to_hex((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 1, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 2, 1)) - 1)), 2, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 3, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 4, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 5, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 6, 1)) - 1)), 5, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 7, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 8, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 9, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 10, 1)) - 1)), 5, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 11, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 12, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 13, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 14, 1)) - 1)), 5, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 15, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 16, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 17, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 18, 1)) - 1)), 5, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 19, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 20, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 21, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 22, 1)) - 1)), 5, '0') ||
      lpad(to_hex((((strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 23, 1)) - 1) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 24, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 25, 1)) - 1)) * 32 + (strpos('0123456789abcdefghjkmnpqrstvwxyz', substr(b, 26, 1)) - 1)), 5, '0'))::uuid END
    FROM (SELECT right(id, 26) AS b) t
$$;

-- What the ledger expects of each connection with a source: one item per capture and refund on 1100, with the fee that was booked beside it.
CREATE FUNCTION recon_expect(p_merchant uuid, p_at timestamptz) RETURNS bigint LANGUAGE plpgsql SET work_mem = '128MB' AS $$
DECLARE v_count bigint; v_first uuid := new_id(p_at);
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_moved;
  CREATE TEMP TABLE recon_moved ON COMMIT DROP AS
    SELECT s.id AS source_id, a.currency, t.id, t.kind, t.source_id AS payment_id, split_part(t.event_key, ':', 2) AS operation, t.posted_at, t.effective_on,
           e.clear_key, sum(e.side * e.amount)::bigint AS gross
      FROM recon_source s
      JOIN ledger.account a ON a.merchant_id = s.merchant_id AND a.code = '1100' AND a.owner_type = 'connection' AND a.owner_id = s.connection_id
      JOIN ledger.entry e ON e.merchant_id = a.merchant_id AND e.account_id = a.id AND e.txn_id > s.ledger_through AND e.phase IN (0, 2)
      JOIN ledger.txn t ON t.merchant_id = e.merchant_id AND t.id = e.txn_id
     WHERE s.merchant_id = p_merchant AND s.side = 'psp' AND t.source_type = 'payment'
       AND t.kind IN ('payment.captured', 'refund.confirmed', 'refund.returned')
       AND NOT EXISTS (SELECT FROM recon_item i WHERE i.merchant_id = p_merchant AND i.source_id = s.id AND i.side = 'ledger' AND i.ext_id = 'txn_' || t.id)
     GROUP BY s.id, a.currency, t.merchant_id, t.id, t.kind, t.source_id, t.event_key, t.posted_at, t.effective_on, e.clear_key;
  -- how many there are decides how they are best joined
  ANALYZE recon_moved;
  WITH alone AS MATERIALIZED (
    -- the id in an event key is taken apart only where a payment has several operations of the kind
    SELECT o.payment_id, o.kind, (array_agg(o.id))[1] AS id FROM payment_operation o WHERE o.merchant_id = p_merchant AND o.payment_id IN (SELECT payment_id FROM recon_moved)
     GROUP BY o.payment_id, o.kind HAVING count(*) = 1),
  fee AS MATERIALIZED (
    SELECT t.source_id AS payment_id, split_part(t.event_key, ':', 2) AS operation, -sum(e.side * e.amount)::bigint AS minor
      FROM (SELECT DISTINCT payment_id FROM recon_moved WHERE kind = 'payment.captured') m
      JOIN ledger.txn t ON t.merchant_id = p_merchant AND t.source_type = 'payment' AND t.source_id = m.payment_id AND t.event_key LIKE 'pspfee:%'
      JOIN ledger.entry e ON e.merchant_id = t.merchant_id AND e.txn_id = t.id
      JOIN ledger.account a ON a.merchant_id = e.merchant_id AND a.id = e.account_id AND a.code = '1100'
     GROUP BY t.source_id, t.event_key)
  INSERT INTO recon_item (merchant_id, id, source_id, side, kind, raw_type, ext_id, object_ref, parent_ref, our_id, payment_id, merchant_ref, currency,
      gross_minor, net_currency, fee_minor, net_minor, happened_at, day, clear_key, created_at)
    SELECT p_merchant, numbered_id(v_first, row_number() OVER (ORDER BY m.id, m.source_id, m.clear_key)), m.source_id, 'ledger',
           CASE m.kind WHEN 'payment.captured' THEN 'charge' WHEN 'refund.confirmed' THEN 'refund' ELSE 'refund_reversal' END,
           m.kind, 'txn_' || m.id, x.provider_reference, p.provider_reference, o.attempt_id, m.payment_id, p.order_reference, m.currency,
           m.gross, m.currency, coalesce(f.minor, 0), m.gross - coalesce(f.minor, 0), m.posted_at, m.effective_on, m.clear_key, p_at
      FROM recon_moved m
      JOIN payment p ON p.merchant_id = p_merchant AND p.id = m.payment_id
      LEFT JOIN alone ON alone.payment_id = m.payment_id AND alone.kind = CASE m.kind WHEN 'payment.captured' THEN 'capture' ELSE 'refund' END
      LEFT JOIN payment_operation o ON o.merchant_id = p_merchant AND o.id = coalesce(alone.id, public_uuid(m.operation))
      LEFT JOIN payment_attempt x ON x.merchant_id = p_merchant AND x.id = o.attempt_id
      LEFT JOIN fee f ON f.payment_id = m.payment_id AND m.kind = 'payment.captured' AND f.operation = m.operation
    ON CONFLICT (merchant_id, source_id, side, ext_id, kind) DO NOTHING;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  -- a transaction may become visible after one with a higher number, but not an hour later: statements are cut off long before
  UPDATE recon_source s SET ledger_through = greatest(s.ledger_through, coalesce((SELECT max(t.id) FROM ledger.txn t
      WHERE t.merchant_id = p_merchant AND t.posted_at < clock_timestamp() - interval '1 hour'), 0)) WHERE s.merchant_id = p_merchant;
  RETURN v_count;
END $$;

-- One item per provider batch and currency: what its payout says, else what its lines come to.
CREATE FUNCTION recon_batches(p_merchant uuid, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO recon_item AS b (merchant_id, id, source_id, side, kind, raw_type, ext_id, batch_ref, refs, currency, gross_minor, net_currency, fee_minor,
      net_minor, happened_at, day, clear_key, created_at)
    SELECT p_merchant, new_id(p_at), source_id, 'psp', 'batch', 'batch', batch_ref || '/' || net_currency, batch_ref, refs, net_currency, minor, net_currency, 0,
           minor, NULL, day, 'batch:' || source_id || ':' || batch_ref || '/' || net_currency, p_at
      FROM (SELECT i.source_id, i.batch_ref, i.net_currency, max(i.day) AS day,
                   coalesce(-sum(i.net_minor) FILTER (WHERE i.kind = 'payout'), sum(i.net_minor) FILTER (WHERE i.kind <> 'payout'), 0)::bigint AS minor,
                   ARRAY[i.batch_ref] || coalesce((SELECT array_agg(DISTINCT r ORDER BY r) FROM recon_item x, unnest(x.refs) r
                      WHERE x.merchant_id = p_merchant AND x.source_id = i.source_id AND x.batch_ref = i.batch_ref AND x.kind = 'payout'), '{}') AS refs
              FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind <> 'batch' AND i.batch_ref IS NOT NULL
             GROUP BY i.source_id, i.batch_ref, i.net_currency) t
    ON CONFLICT (merchant_id, source_id, side, ext_id, kind) DO UPDATE
      SET gross_minor = excluded.gross_minor, net_minor = excluded.net_minor, day = excluded.day, refs = excluded.refs
      WHERE (b.net_minor, b.day, b.refs) IS DISTINCT FROM (excluded.net_minor, excluded.day, excluded.refs);
END $$;

-- Which bank lines pay which batches: named in the line (P2), the same sum within days and the only one (P3), or several of either (P4).
CREATE FUNCTION recon_batch_pairs(p_merchant uuid) RETURNS TABLE (bank_id uuid, batch_id uuid, rule text, difference bigint)
LANGUAGE sql STABLE SET enable_nestloop = off SET work_mem = '64MB' AS $$
  WITH free AS MATERIALIZED (
    SELECT i.* FROM recon_item i WHERE i.merchant_id = p_merchant AND (i.side = 'bank' OR i.kind = 'batch') AND i.net_minor <> 0
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live)),
  bank AS MATERIALIZED (SELECT * FROM free WHERE side = 'bank'),
  batch AS MATERIALIZED (SELECT * FROM free WHERE kind = 'batch'),
  word AS (SELECT DISTINCT b.id, w.word FROM bank b CROSS JOIN LATERAL (
             SELECT unnest(b.refs) AS word UNION ALL SELECT regexp_split_to_table(coalesce(b.words, ''), '[^A-Za-z0-9_.:-]+')) w WHERE length(w.word) >= 3),
  name AS (SELECT t.id, r.ref FROM batch t CROSS JOIN LATERAL unnest(t.refs) r(ref)),
  named AS MATERIALIZED (
    SELECT DISTINCT b.id AS bank, t.id AS batch, b.net_minor AS paid, t.net_minor AS due FROM word w JOIN name n ON n.ref = w.word
      JOIN bank b ON b.id = w.id JOIN batch t ON t.id = n.id AND t.net_currency = b.net_currency),
  counted AS MATERIALIZED (
    SELECT n.*, count(*) OVER (PARTITION BY bank) AS batches, count(*) OVER (PARTITION BY batch) AS banks,
           sum(due) OVER (PARTITION BY bank) AS all_due, sum(paid) OVER (PARTITION BY batch) AS all_paid FROM named n),
  m2 AS MATERIALIZED (
    SELECT bank, batch, 'P2'::text AS rule, 0::bigint AS difference FROM counted WHERE paid = due AND batches = 1 AND banks = 1
    UNION ALL
    SELECT bank, batch, 'P4', 0 FROM counted c WHERE batches > 1 AND all_due = paid AND (SELECT max(x.banks) FROM counted x WHERE x.bank = c.bank) = 1
    UNION ALL
    SELECT bank, batch, 'P4', 0 FROM counted c WHERE banks > 1 AND all_paid = due AND (SELECT max(x.batches) FROM counted x WHERE x.batch = c.batch) = 1
    UNION ALL
    SELECT bank, batch, 'amount', paid - due FROM counted WHERE paid <> due AND batches = 1 AND banks = 1),
  near AS (SELECT b.id AS bank, t.id AS batch FROM bank b JOIN batch t ON t.net_currency = b.net_currency AND t.net_minor = b.net_minor
            AND abs(b.day - t.day) <= 5 WHERE NOT EXISTS (SELECT FROM m2 WHERE m2.bank = b.id) AND NOT EXISTS (SELECT FROM m2 WHERE m2.batch = t.id))
  SELECT * FROM m2
  UNION ALL
  SELECT bank, batch, 'P3', 0 FROM (SELECT bank, batch, count(*) OVER (PARTITION BY bank) AS of_bank, count(*) OVER (PARTITION BY batch) AS of_batch FROM near) t
   WHERE of_bank = 1 AND of_batch = 1
$$;

-- Make the live matches those that the rules want; what people matched is left alone. A match is known by its items: one that is wanted and
-- there already stays as it is, with the rule that made it.
CREATE FUNCTION recon_rematch(p_merchant uuid, p_leg text, p_at timestamptz, p_version integer, p_sums jsonb DEFAULT '[]') RETURNS void LANGUAGE plpgsql
SET enable_nestloop = off SET work_mem = '64MB' AS $$
BEGIN
  DELETE FROM recon_wanted WHERE merchant_id = p_merchant;
  DELETE FROM recon_difference WHERE merchant_id = p_merchant AND leg = p_leg;
    -- several batches in one credit, or one batch in several, are one match: it is named after the side there is one of
    WITH pair AS MATERIALIZED (SELECT * FROM recon_batch_pairs(p_merchant)),
    told AS (INSERT INTO recon_difference (merchant_id, item_id, other_id, leg, rule, minor)
      SELECT p_merchant, bank_id, batch_id, 'batch', rule, difference FROM pair WHERE rule = 'amount'),
    -- P5 comes from outside: the only choice of unnamed batches that adds up to an unnamed credit
    chosen AS (SELECT bank_id, batch_id, rule FROM pair WHERE rule IN ('P2', 'P3', 'P4')
               UNION ALL SELECT (s ->> 'bank')::uuid, b::uuid, 'P5' FROM jsonb_array_elements(p_sums) s, jsonb_array_elements_text(s -> 'batches') b),
    named AS (SELECT bank_id, batch_id, rule, CASE WHEN count(*) OVER (PARTITION BY batch_id) > 1 THEN batch_id::text
                     WHEN count(*) OVER (PARTITION BY bank_id) > 1 THEN bank_id::text ELSE bank_id || '|' || batch_id END AS key FROM chosen),
    part AS (SELECT key, rule, bank_id AS id, 1 AS sign FROM named UNION ALL SELECT key, rule, batch_id, -1 FROM named)
    INSERT INTO recon_wanted (merchant_id, key, rule, item_id, minor, currency)
      SELECT p_merchant, part.key, min(part.rule), i.id, part.sign * i.net_minor, i.net_currency
        FROM part JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = part.id GROUP BY part.key, part.sign, i.id, i.net_minor, i.net_currency;
  -- a match whose items changed is another match
  UPDATE recon_match m SET undone_at = p_at WHERE m.merchant_id = p_merchant AND m.leg = p_leg AND m.undone_at IS NULL AND NOT m.is_manual
     AND (NOT EXISTS (SELECT FROM recon_wanted w WHERE w.merchant_id = p_merchant AND w.key = m.key)
       OR (p_leg = 'batch' AND (SELECT array_agg((x.item_id, x.minor) ORDER BY x.item_id) FROM recon_match_item x WHERE x.merchant_id = p_merchant AND x.match_id = m.id)
           IS DISTINCT FROM (SELECT array_agg((w.item_id, w.minor) ORDER BY w.item_id) FROM recon_wanted w WHERE w.merchant_id = p_merchant AND w.key = m.key)));
  UPDATE recon_match_item x SET is_live = false FROM recon_match m
   WHERE x.merchant_id = p_merchant AND x.is_live AND m.merchant_id = p_merchant AND m.id = x.match_id AND m.undone_at IS NOT NULL;
  DELETE FROM recon_wanted w USING recon_match m WHERE w.merchant_id = p_merchant AND m.merchant_id = p_merchant AND m.key = w.key AND m.undone_at IS NULL;
  INSERT INTO recon_match (merchant_id, id, leg, rule, rule_version, key, made_by, made_at)
    SELECT p_merchant, new_id(p_at), p_leg, min(rule), p_version, key, 'rules', p_at FROM recon_wanted WHERE merchant_id = p_merchant GROUP BY key;
  INSERT INTO recon_match_item (merchant_id, match_id, item_id, minor, currency)
    SELECT p_merchant, m.id, w.item_id, w.minor, w.currency FROM recon_wanted w
      JOIN recon_match m ON m.merchant_id = p_merchant AND m.key = w.key AND m.undone_at IS NULL WHERE w.merchant_id = p_merchant;
  DELETE FROM recon_wanted WHERE merchant_id = p_merchant;
END $$;

-- Which key of 1100 a provider's line clears: its ledger item's, also when the two differ in amount; its own when there is none.
CREATE FUNCTION recon_line_keys(p_merchant uuid) RETURNS TABLE (item_id uuid, key text, ledger_fee bigint) LANGUAGE sql STABLE
SET enable_nestloop = off SET work_mem = '64MB' AS $$
  WITH paired AS (
    SELECT a.psp_id AS p, a.ledger_id AS l FROM recon_pair a WHERE a.merchant_id = p_merchant
    UNION ALL
    SELECT o.item_id, x.item_id FROM recon_match m JOIN recon_match_item o ON o.merchant_id = m.merchant_id AND o.match_id = m.id
      JOIN recon_match_item x ON x.merchant_id = m.merchant_id AND x.match_id = m.id AND x.item_id <> o.item_id
      JOIN recon_item l ON l.merchant_id = x.merchant_id AND l.id = x.item_id AND l.side = 'ledger'
     WHERE m.merchant_id = p_merchant AND m.leg = 'line' AND m.undone_at IS NULL
    UNION ALL
    SELECT d.item_id, d.other_id FROM recon_difference d WHERE d.merchant_id = p_merchant AND d.leg = 'line' AND d.rule = 'amount')
  SELECT i.id, coalesce(l.clear_key, i.clear_key), l.fee_minor
    FROM recon_item i LEFT JOIN paired ON paired.p = i.id LEFT JOIN recon_item l ON l.merchant_id = p_merchant AND l.id = paired.l
   WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind <> 'batch'
$$;

-- Everything the sources do not agree on now. ``minor`` is what the other side has more than the ledger.
CREATE FUNCTION recon_wanted_breaks(p_merchant uuid, p_today date, p_fee_minor bigint, p_fee_bps bigint, p_rounding bigint, p_settle_days integer, p_bank_days integer)
RETURNS TABLE (kind text, subject text, source_id uuid, item_id uuid, other_id uuid, reference text, currency text, minor bigint)
LANGUAGE sql STABLE SET enable_nestloop = off SET work_mem = '64MB' AS $$
  WITH settled AS MATERIALIZED (
    SELECT a.psp_id AS item_id FROM recon_pair a WHERE a.merchant_id = p_merchant
    UNION ALL SELECT a.ledger_id FROM recon_pair a WHERE a.merchant_id = p_merchant
    UNION ALL SELECT x.item_id FROM recon_match_item x WHERE x.merchant_id = p_merchant AND x.is_live
    UNION ALL SELECT d.item_id FROM recon_difference d WHERE d.merchant_id = p_merchant
    UNION ALL SELECT d.other_id FROM recon_difference d WHERE d.merchant_id = p_merchant),
  loose AS MATERIALIZED (SELECT * FROM recon_item i WHERE i.merchant_id = p_merchant AND NOT EXISTS (SELECT FROM settled s WHERE s.item_id = i.id)),
  line AS (SELECT * FROM loose WHERE side = 'psp' AND loose.kind NOT IN ('batch', 'payout', 'fee')),
  expected AS (SELECT * FROM loose WHERE side = 'ledger' AND day + p_settle_days < p_today),
  -- only what a loose item could be a copy of is looked up
  twin AS MATERIALIZED (SELECT i.source_id, i.kind, i.currency, i.gross_minor, i.parent_ref, i.our_id FROM recon_item i JOIN settled s ON s.item_id = i.id
            WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind <> 'batch' AND (i.parent_ref IN (SELECT parent_ref FROM line) OR i.our_id IN (SELECT our_id FROM line))),
  own_twin AS MATERIALIZED (SELECT i.source_id, i.kind, i.currency, i.gross_minor, i.object_ref FROM recon_item i JOIN settled s ON s.item_id = i.id
            WHERE i.merchant_id = p_merchant AND i.side = 'ledger' AND i.object_ref IN (SELECT object_ref FROM expected)),
  known AS MATERIALIZED (SELECT i.source_id, i.parent_ref, i.object_ref FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side = 'ledger' AND i.kind = 'charge'
             AND (i.parent_ref IN (SELECT parent_ref FROM line) OR i.object_ref IN (SELECT parent_ref FROM line))),
  told AS MATERIALIZED (SELECT f.source_id, t.* FROM recon_file f
    CROSS JOIN jsonb_to_recordset(f.totals) AS t(batch text, account text, statement text, currency text, opening_minor bigint, closing_minor bigint)
     WHERE f.merchant_id = p_merchant AND f.status = 'imported' AND t.account IS NOT NULL AND t.opening_minor IS NOT NULL AND t.batch IS NOT NULL)
  SELECT CASE WHEN l.kind = 'payout_reversal' THEN 'payout_returned'
              WHEN l.kind NOT IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal') THEN 'unknown_type'
              WHEN (l.source_id, l.kind, l.currency, l.gross_minor, l.parent_ref) IN (SELECT t.source_id, t.kind, t.currency, t.gross_minor, t.parent_ref FROM twin t)
                OR (l.source_id, l.kind, l.currency, l.gross_minor, l.our_id) IN (SELECT t.source_id, t.kind, t.currency, t.gross_minor, t.our_id FROM twin t) THEN 'duplicate_psp'
              WHEN l.kind = 'charge' THEN 'missing_in_ledger'
              WHEN (l.source_id, l.parent_ref) IN (SELECT k.source_id, k.parent_ref FROM known k)
                OR (l.source_id, l.parent_ref) IN (SELECT k.source_id, k.object_ref FROM known k) THEN 'status'
              WHEN l.kind IN ('dispute', 'dispute_reversal') THEN 'orphan_dispute' ELSE 'orphan_refund' END,
         'item:' || l.id, l.source_id, l.id, NULL::uuid, coalesce(l.parent_ref, l.ext_id), l.currency, l.gross_minor FROM line l
  UNION ALL
  SELECT CASE WHEN (e.source_id, e.kind, e.currency, e.gross_minor, e.object_ref) IN
                   (SELECT t.source_id, t.kind, t.currency, t.gross_minor, t.object_ref FROM own_twin t) THEN 'duplicate_ledger' ELSE 'missing_in_psp' END,
         'item:' || e.id, e.source_id, e.id, NULL, coalesce(e.object_ref, e.clear_key), e.currency, -e.gross_minor FROM expected e
  UNION ALL
  SELECT CASE WHEN d.rule = 'currency' THEN 'currency' WHEN abs(d.minor) <= p_rounding THEN 'rounding' ELSE 'amount' END, 'item:' || d.item_id, o.source_id, d.item_id,
         d.other_id, CASE d.leg WHEN 'batch' THEN t.batch_ref ELSE coalesce(o.parent_ref, o.ext_id) END, CASE d.leg WHEN 'batch' THEN o.net_currency ELSE o.currency END,
         CASE WHEN d.rule = 'currency' THEN o.gross_minor ELSE d.minor END
    FROM recon_difference d JOIN recon_item o ON o.merchant_id = d.merchant_id AND o.id = d.item_id
    JOIN recon_item t ON t.merchant_id = d.merchant_id AND t.id = d.other_id WHERE d.merchant_id = p_merchant
  UNION ALL
  SELECT 'fee', 'item:' || o.id, o.source_id, o.id, l.id, coalesce(o.parent_ref, o.ext_id), o.currency, l.fee_minor - o.fee_minor
    FROM recon_pair a JOIN recon_item o ON o.merchant_id = a.merchant_id AND o.id = a.psp_id JOIN recon_item l ON l.merchant_id = a.merchant_id AND l.id = a.ledger_id
   WHERE a.merchant_id = p_merchant AND a.fee_off <> 0
     AND (abs(a.fee_off) > p_fee_minor OR abs(a.fee_off) * 10000 > abs(o.gross_minor) * p_fee_bps)
  UNION ALL
  SELECT 'fee', 'item:' || o.id, o.source_id, o.id, l.id, coalesce(o.parent_ref, o.ext_id), o.currency, l.fee_minor - o.fee_minor
    FROM recon_match m JOIN recon_match_item x ON x.merchant_id = m.merchant_id AND x.match_id = m.id
    JOIN recon_item o ON o.merchant_id = x.merchant_id AND o.id = x.item_id AND o.side = 'psp'
    JOIN recon_match_item y ON y.merchant_id = m.merchant_id AND y.match_id = m.id
    JOIN recon_item l ON l.merchant_id = y.merchant_id AND l.id = y.item_id AND l.side = 'ledger'
   WHERE m.merchant_id = p_merchant AND m.leg = 'line' AND m.undone_at IS NULL AND o.net_currency = o.currency AND l.fee_minor <> 0 AND o.fee_minor <> l.fee_minor
     AND (abs(o.fee_minor - l.fee_minor) > p_fee_minor OR abs(o.fee_minor - l.fee_minor) * 10000 > abs(o.gross_minor) * p_fee_bps)
  UNION ALL
  SELECT 'missing_in_bank', 'item:' || b.id, b.source_id, b.id, NULL, b.batch_ref, b.net_currency, -b.net_minor
    FROM loose b WHERE b.kind = 'batch' AND b.net_minor <> 0 AND b.day + p_bank_days < p_today
  UNION ALL
  -- a statement that opens with a balance no other closed with, and is not the first of its account: one is missing before it
  SELECT 'file_gap', 'gap:' || g.source_id || ':' || g.batch, g.source_id, NULL, NULL, g.batch, g.currency, 0
    FROM (SELECT t.*, row_number() OVER (PARTITION BY t.source_id, t.account, t.currency ORDER BY length(t.statement), t.statement) AS place FROM told t
           WHERE (t.source_id, t.account, t.currency, t.opening_minor) NOT IN (
             SELECT o.source_id, o.account, o.currency, o.closing_minor FROM told o WHERE o.batch <> t.batch)) g WHERE g.place > 1
  UNION ALL
  SELECT 'bank_unidentified', 'item:' || b.id, b.source_id, b.id, NULL, b.ext_id, b.net_currency, b.net_minor FROM loose b WHERE b.side = 'bank' AND b.net_minor <> 0
$$;

-- Bank lines and batches that no rule pairs, for the search of sums: few, or the search is not made.
CREATE FUNCTION recon_unpaired(p_merchant uuid) RETURNS TABLE (id uuid, side text, currency text, minor bigint, day date, ext_id text)
LANGUAGE sql STABLE SET enable_nestloop = off AS $$
  WITH pair AS MATERIALIZED (SELECT bank_id, batch_id FROM recon_batch_pairs(p_merchant))
  SELECT i.id, i.side, i.net_currency, i.net_minor, i.day, i.ext_id FROM recon_item i
   WHERE i.merchant_id = p_merchant AND (i.side = 'bank' OR i.kind = 'batch') AND i.net_minor > 0
     AND NOT EXISTS (SELECT FROM pair WHERE pair.bank_id = i.id) AND NOT EXISTS (SELECT FROM pair WHERE pair.batch_id = i.id)
     AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                      WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live)
   ORDER BY i.day, i.ext_id
$$;
