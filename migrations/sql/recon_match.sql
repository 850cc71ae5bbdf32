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
CREATE FUNCTION recon_expect(p_merchant uuid, p_at timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_count bigint;
BEGIN
  WITH moved AS (
    SELECT s.id AS source_id, a.currency, t.id, t.kind, t.source_id AS payment_id, t.event_key, t.posted_at, t.effective_on, e.clear_key,
           sum(e.side * e.amount)::bigint AS gross, public_uuid(split_part(t.event_key, ':', 2)) AS operation_id
      FROM recon_source s
      JOIN ledger.account a ON a.merchant_id = s.merchant_id AND a.code = '1100' AND a.owner_type = 'connection' AND a.owner_id = s.connection_id
      JOIN ledger.entry e ON e.merchant_id = a.merchant_id AND e.account_id = a.id AND e.txn_id > s.ledger_through AND e.phase IN (0, 2)
      JOIN ledger.txn t ON t.merchant_id = e.merchant_id AND t.id = e.txn_id
     WHERE s.merchant_id = p_merchant AND s.side = 'psp' AND t.source_type = 'payment'
       AND t.kind IN ('payment.captured', 'refund.confirmed', 'refund.returned')
     GROUP BY s.id, a.currency, t.merchant_id, t.id, t.kind, t.source_id, t.event_key, t.posted_at, t.effective_on, e.clear_key)
  INSERT INTO recon_item (merchant_id, id, source_id, side, kind, raw_type, ext_id, object_ref, parent_ref, our_id, payment_id, merchant_ref, currency,
      gross_minor, net_currency, fee_minor, net_minor, happened_at, day, clear_key, fingerprint, created_at)
    SELECT p_merchant, new_id(m.posted_at), m.source_id, 'ledger',
           CASE m.kind WHEN 'payment.captured' THEN 'charge' WHEN 'refund.confirmed' THEN 'refund' ELSE 'refund_reversal' END,
           m.kind, 'txn_' || m.id, o.provider_reference, p.provider_reference, o.attempt_id, m.payment_id, p.order_reference, m.currency,
           m.gross, m.currency, coalesce(f.fee, 0), m.gross - coalesce(f.fee, 0), m.posted_at, m.effective_on, m.clear_key, '', p_at
      FROM moved m
      JOIN payment p ON p.merchant_id = p_merchant AND p.id = m.payment_id
      LEFT JOIN LATERAL (SELECT t.attempt_id, x.provider_reference FROM payment_operation t JOIN payment_attempt x ON x.merchant_id = t.merchant_id AND x.id = t.attempt_id
                          WHERE t.merchant_id = p_merchant AND t.id = m.operation_id) o ON true
      LEFT JOIN LATERAL (SELECT -sum(e.side * e.amount)::bigint AS fee FROM ledger.txn t
                          JOIN ledger.entry e ON e.merchant_id = t.merchant_id AND e.txn_id = t.id
                          JOIN ledger.account a ON a.merchant_id = e.merchant_id AND a.id = e.account_id AND a.code = '1100'
                          WHERE m.kind = 'payment.captured' AND t.merchant_id = p_merchant AND t.source_type = 'payment' AND t.source_id = m.payment_id
                            AND t.event_key = 'pspfee:' || split_part(m.event_key, ':', 2)) f ON true
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
      net_minor, happened_at, day, clear_key, fingerprint, created_at)
    SELECT p_merchant, new_id(p_at), source_id, 'psp', 'batch', 'batch', batch_ref || '/' || net_currency, batch_ref, refs, net_currency, minor, net_currency, 0,
           minor, NULL, day, 'batch:' || source_id || ':' || batch_ref || '/' || net_currency, '', p_at
      FROM (SELECT i.source_id, i.batch_ref, i.net_currency, max(i.day) AS day,
                   coalesce(-sum(i.net_minor) FILTER (WHERE i.kind = 'payout'), sum(i.net_minor) FILTER (WHERE i.kind <> 'payout'), 0)::bigint AS minor,
                   array_agg(DISTINCT i.batch_ref) || coalesce((SELECT array_agg(DISTINCT r ORDER BY r) FROM recon_item x, unnest(x.refs) r
                      WHERE x.merchant_id = p_merchant AND x.source_id = i.source_id AND x.batch_ref = i.batch_ref AND x.kind = 'payout'), '{}') AS refs
              FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind <> 'batch' AND i.batch_ref IS NOT NULL
             GROUP BY i.source_id, i.batch_ref, i.net_currency) t
    ON CONFLICT (merchant_id, source_id, side, ext_id, kind) DO UPDATE
      SET gross_minor = excluded.gross_minor, net_minor = excluded.net_minor, day = excluded.day, refs = excluded.refs
      WHERE (b.net_minor, b.day, b.refs) IS DISTINCT FROM (excluded.net_minor, excluded.day, excluded.refs);
END $$;

-- The pairs the rules make of ledger items and provider lines, best rule first. Equal money under one key is paired in the order it happened;
-- a rule that goes by our reference alone pairs only what is unique on both sides.
CREATE FUNCTION recon_line_pairs(p_merchant uuid) RETURNS TABLE (ledger_id uuid, other_id uuid, rule text, difference bigint)
LANGUAGE sql STABLE AS $$
  WITH free AS MATERIALIZED (
    SELECT i.* FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side IN ('ledger', 'psp')
       AND i.kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live)),
  l AS MATERIALIZED (SELECT * FROM free WHERE side = 'ledger'),
  p AS MATERIALIZED (SELECT * FROM free WHERE side = 'psp'),
  -- P0: the provider's own reference, the line's before the payment's
  l0 AS (SELECT id, row_number() OVER w AS n, source_id, object_ref AS ref, kind, currency, gross_minor FROM l WHERE object_ref IS NOT NULL
         WINDOW w AS (PARTITION BY source_id, object_ref, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  p0 AS (SELECT id, row_number() OVER w AS n, source_id, ext_id AS ref, kind, currency, gross_minor FROM p
         WINDOW w AS (PARTITION BY source_id, ext_id, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  m0 AS MATERIALIZED (SELECT l0.id AS l, p0.id AS p, 'P0'::text AS rule FROM l0 JOIN p0 USING (source_id, ref, kind, currency, gross_minor, n)),
  l1 AS (SELECT id, row_number() OVER w AS n, source_id, object_ref AS ref, kind, currency, gross_minor FROM l
          WHERE object_ref IS NOT NULL AND NOT EXISTS (SELECT FROM m0 WHERE m0.l = l.id)
         WINDOW w AS (PARTITION BY source_id, object_ref, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  p1 AS (SELECT id, row_number() OVER w AS n, source_id, parent_ref AS ref, kind, currency, gross_minor FROM p
          WHERE parent_ref IS NOT NULL AND NOT EXISTS (SELECT FROM m0 WHERE m0.p = p.id)
         WINDOW w AS (PARTITION BY source_id, parent_ref, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  m1 AS MATERIALIZED (SELECT l1.id AS l, p1.id AS p, 'P0'::text AS rule FROM l1 JOIN p1 USING (source_id, ref, kind, currency, gross_minor, n)
                      UNION ALL SELECT * FROM m0),
  l2 AS (SELECT id, row_number() OVER w AS n, source_id, parent_ref AS ref, kind, currency, gross_minor FROM l
          WHERE parent_ref IS NOT NULL AND NOT EXISTS (SELECT FROM m1 WHERE m1.l = l.id)
         WINDOW w AS (PARTITION BY source_id, parent_ref, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  p2 AS (SELECT id, row_number() OVER w AS n, source_id, parent_ref AS ref, kind, currency, gross_minor FROM p
          WHERE parent_ref IS NOT NULL AND NOT EXISTS (SELECT FROM m1 WHERE m1.p = p.id)
         WINDOW w AS (PARTITION BY source_id, parent_ref, kind, currency, gross_minor ORDER BY happened_at, ext_id)),
  m2 AS MATERIALIZED (SELECT l2.id AS l, p2.id AS p, 'P0'::text AS rule FROM l2 JOIN p2 USING (source_id, ref, kind, currency, gross_minor, n)
                      UNION ALL SELECT * FROM m1),
  -- P1: our own reference, unique on both sides and within ten days
  lk AS (SELECT l.id, l.source_id, k.ref, l.kind, l.currency, l.gross_minor, l.day FROM l
          CROSS JOIN LATERAL (VALUES (l.our_id::text), (l.payment_id::text), (l.merchant_ref)) k(ref)
          WHERE k.ref IS NOT NULL AND NOT EXISTS (SELECT FROM m2 WHERE m2.l = l.id)),
  pk AS (SELECT p.id, p.source_id, coalesce(p.our_id::text, p.merchant_ref) AS ref, p.kind, p.currency, p.gross_minor, p.day FROM p
          WHERE coalesce(p.our_id::text, p.merchant_ref) IS NOT NULL AND NOT EXISTS (SELECT FROM m2 WHERE m2.p = p.id)),
  near AS (SELECT lk.id AS l, pk.id AS p FROM lk JOIN pk USING (source_id, ref, kind, currency, gross_minor) WHERE abs(lk.day - pk.day) <= 10),
  m3 AS MATERIALIZED (SELECT l, p, 'P1'::text AS rule FROM (SELECT l, p, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM near) t
                       WHERE of_l = 1 AND of_p = 1 UNION ALL SELECT * FROM m2),
  -- what is left under one key without agreeing on the amount is the same money told differently, when there is one of it on each side
  rest AS (
    SELECT DISTINCT l.id AS l, p.id AS p FROM l JOIN p ON p.source_id = l.source_id AND p.kind = l.kind
       AND (p.ext_id = l.object_ref OR p.parent_ref = l.object_ref OR p.parent_ref = l.parent_ref OR p.our_id = l.our_id OR p.our_id = l.payment_id)
     WHERE NOT EXISTS (SELECT FROM m3 WHERE m3.l = l.id) AND NOT EXISTS (SELECT FROM m3 WHERE m3.p = p.id)),
  told AS (SELECT l, p FROM (SELECT l, p, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM rest) t WHERE of_l = 1 AND of_p = 1)
  SELECT m3.l, m3.p, m3.rule, 0::bigint FROM m3
  UNION ALL
  SELECT told.l, told.p, CASE WHEN l.currency <> p.currency THEN 'currency' ELSE 'amount' END, p.gross_minor - l.gross_minor
    FROM told JOIN l ON l.id = told.l JOIN p ON p.id = told.p
$$;

-- Which bank lines pay which batches: named in the line (P2), the same sum within days and the only one (P3), or several of either (P4).
CREATE FUNCTION recon_batch_pairs(p_merchant uuid) RETURNS TABLE (bank_id uuid, batch_id uuid, rule text, difference bigint)
LANGUAGE sql STABLE AS $$
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
CREATE FUNCTION recon_rematch(p_merchant uuid, p_leg text, p_at timestamptz, p_version integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM recon_wanted WHERE merchant_id = p_merchant;
  IF p_leg = 'line' THEN
    INSERT INTO recon_wanted (merchant_id, key, rule, item_id, minor, currency)
      SELECT p_merchant, w.ledger_id || '|' || w.other_id, w.rule, i.id, CASE i.side WHEN 'ledger' THEN -i.gross_minor ELSE i.gross_minor END, i.currency
        FROM recon_line_pairs(p_merchant) w JOIN recon_item i ON i.merchant_id = p_merchant AND i.id IN (w.ledger_id, w.other_id)
       WHERE w.rule IN ('P0', 'P1');
  ELSE
    -- several batches in one credit, or one batch in several, are one match: it is named after the side there is one of
    INSERT INTO recon_wanted (merchant_id, key, rule, item_id, minor, currency)
      SELECT p_merchant, w.key, min(w.rule), i.id, CASE i.side WHEN 'bank' THEN i.net_minor ELSE -i.net_minor END, i.net_currency
        FROM (SELECT bank_id, batch_id, rule, CASE WHEN count(*) OVER (PARTITION BY batch_id) > 1 THEN batch_id::text
                     WHEN count(*) OVER (PARTITION BY bank_id) > 1 THEN bank_id::text ELSE bank_id || '|' || batch_id END AS key
                FROM recon_batch_pairs(p_merchant) WHERE rule IN ('P2', 'P3', 'P4')) w
        JOIN recon_item i ON i.merchant_id = p_merchant AND i.id IN (w.bank_id, w.batch_id) GROUP BY w.key, i.id, i.side, i.net_minor, i.net_currency;
  END IF;
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
CREATE FUNCTION recon_line_keys(p_merchant uuid) RETURNS TABLE (item_id uuid, key text, ledger_fee bigint) LANGUAGE sql STABLE AS $$
  WITH paired AS (
    SELECT o.item_id AS p, l.id AS l FROM recon_match m JOIN recon_match_item o ON o.merchant_id = m.merchant_id AND o.match_id = m.id
      JOIN recon_match_item x ON x.merchant_id = m.merchant_id AND x.match_id = m.id AND x.item_id <> o.item_id
      JOIN recon_item l ON l.merchant_id = x.merchant_id AND l.id = x.item_id AND l.side = 'ledger'
     WHERE m.merchant_id = p_merchant AND m.leg = 'line' AND m.undone_at IS NULL
    UNION ALL
    SELECT other_id, ledger_id FROM recon_line_pairs(p_merchant) WHERE rule = 'amount')
  SELECT i.id, coalesce(l.clear_key, i.clear_key), l.fee_minor
    FROM recon_item i LEFT JOIN paired ON paired.p = i.id LEFT JOIN recon_item l ON l.merchant_id = p_merchant AND l.id = paired.l
   WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind <> 'batch'
$$;

-- Everything the sources do not agree on now. ``minor`` is what the other side has more than the ledger.
CREATE FUNCTION recon_wanted_breaks(p_merchant uuid, p_today date, p_fee_minor bigint, p_fee_bps bigint, p_rounding bigint, p_settle_days integer, p_bank_days integer)
RETURNS TABLE (kind text, subject text, source_id uuid, item_id uuid, other_id uuid, reference text, currency text, minor bigint)
LANGUAGE sql STABLE AS $$
  WITH item AS MATERIALIZED (SELECT * FROM recon_item WHERE merchant_id = p_merchant),
  matched AS MATERIALIZED (SELECT x.item_id, m.leg, m.id AS match_id FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id
                WHERE x.merchant_id = p_merchant AND x.is_live),
  pair AS MATERIALIZED (SELECT * FROM recon_line_pairs(p_merchant) WHERE rule IN ('amount', 'currency')),
  bank_pair AS MATERIALIZED (SELECT * FROM recon_batch_pairs(p_merchant) WHERE rule = 'amount'),
  line AS MATERIALIZED (SELECT * FROM item i WHERE i.side = 'psp' AND i.kind NOT IN ('batch', 'payout', 'fee')
             AND NOT EXISTS (SELECT FROM matched m WHERE m.item_id = i.id) AND NOT EXISTS (SELECT FROM pair WHERE pair.other_id = i.id)),
  expected AS MATERIALIZED (SELECT * FROM item i WHERE i.side = 'ledger'
             AND NOT EXISTS (SELECT FROM matched m WHERE m.item_id = i.id) AND NOT EXISTS (SELECT FROM pair WHERE pair.ledger_id = i.id)),
  twin AS (SELECT DISTINCT i.source_id, i.kind, i.currency, i.gross_minor, k.ref FROM item i JOIN matched m ON m.item_id = i.id
            CROSS JOIN LATERAL (VALUES (i.parent_ref), (i.our_id::text)) k(ref) WHERE i.side = 'psp' AND k.ref IS NOT NULL),
  known AS (SELECT DISTINCT i.source_id, k.ref FROM item i CROSS JOIN LATERAL (VALUES (i.parent_ref), (i.object_ref)) k(ref)
             WHERE i.side = 'ledger' AND i.kind = 'charge' AND k.ref IS NOT NULL),
  own_twin AS (SELECT DISTINCT i.source_id, i.kind, i.currency, i.gross_minor, i.object_ref FROM item i JOIN matched m ON m.item_id = i.id
                WHERE i.side = 'ledger' AND i.object_ref IS NOT NULL)
  SELECT CASE WHEN l.kind = 'payout_reversal' THEN 'payout_returned'
              WHEN l.kind NOT IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal') THEN 'unknown_type'
              WHEN EXISTS (SELECT FROM twin t WHERE (t.source_id, t.kind, t.currency, t.gross_minor) = (l.source_id, l.kind, l.currency, l.gross_minor)
                            AND t.ref IN (l.parent_ref, l.our_id::text)) THEN 'duplicate_psp'
              WHEN l.kind = 'charge' THEN 'missing_in_ledger'
              WHEN EXISTS (SELECT FROM known k WHERE k.source_id = l.source_id AND k.ref = l.parent_ref) THEN 'status'
              WHEN l.kind IN ('dispute', 'dispute_reversal') THEN 'orphan_dispute' ELSE 'orphan_refund' END,
         'item:' || l.id, l.source_id, l.id, NULL::uuid, coalesce(l.parent_ref, l.ext_id), l.currency, l.gross_minor FROM line l
  UNION ALL
  SELECT CASE WHEN EXISTS (SELECT FROM own_twin t WHERE (t.source_id, t.kind, t.currency, t.gross_minor, t.object_ref)
                                                      = (e.source_id, e.kind, e.currency, e.gross_minor, e.object_ref)) THEN 'duplicate_ledger'
              ELSE 'missing_in_psp' END,
         'item:' || e.id, e.source_id, e.id, NULL, coalesce(e.object_ref, e.clear_key), e.currency, -e.gross_minor
    FROM expected e WHERE e.day + p_settle_days < p_today
  UNION ALL
  SELECT CASE WHEN pair.rule = 'currency' THEN 'currency' WHEN abs(pair.difference) <= p_rounding THEN 'rounding' ELSE 'amount' END,
         'item:' || pair.other_id, o.source_id, pair.other_id, pair.ledger_id, coalesce(o.parent_ref, o.ext_id), o.currency,
         CASE WHEN pair.rule = 'currency' THEN o.gross_minor ELSE pair.difference END
    FROM pair JOIN item o ON o.id = pair.other_id
  UNION ALL
  SELECT 'fee', 'item:' || o.id, o.source_id, o.id, l.id, coalesce(o.parent_ref, o.ext_id), o.currency, l.fee_minor - o.fee_minor
    FROM matched m JOIN item o ON o.id = m.item_id AND o.side = 'psp' JOIN matched n ON n.match_id = m.match_id AND n.item_id <> m.item_id
    JOIN item l ON l.id = n.item_id AND l.side = 'ledger'
   WHERE m.leg = 'line' AND o.net_currency = o.currency AND l.fee_minor <> 0 AND o.fee_minor <> l.fee_minor
     AND (abs(o.fee_minor - l.fee_minor) > p_fee_minor OR abs(o.fee_minor - l.fee_minor) * 10000 > abs(o.gross_minor) * p_fee_bps)
  UNION ALL
  SELECT 'missing_in_bank', 'item:' || b.id, b.source_id, b.id, NULL, b.batch_ref, b.net_currency, -b.net_minor
    FROM item b WHERE b.kind = 'batch' AND b.net_minor <> 0 AND b.day + p_bank_days < p_today
     AND NOT EXISTS (SELECT FROM matched m WHERE m.item_id = b.id) AND NOT EXISTS (SELECT FROM bank_pair x WHERE x.batch_id = b.id)
  UNION ALL
  SELECT 'bank_unidentified', 'item:' || b.id, b.source_id, b.id, NULL, b.ext_id, b.net_currency, b.net_minor
    FROM item b WHERE b.side = 'bank' AND b.net_minor <> 0
     AND NOT EXISTS (SELECT FROM matched m WHERE m.item_id = b.id) AND NOT EXISTS (SELECT FROM bank_pair x WHERE x.bank_id = b.id)
  UNION ALL
  SELECT CASE WHEN abs(x.difference) <= p_rounding THEN 'rounding' ELSE 'amount' END, 'item:' || x.bank_id, b.source_id, x.bank_id, x.batch_id, t.batch_ref,
         b.net_currency, x.difference
    FROM bank_pair x JOIN item b ON b.id = x.bank_id JOIN item t ON t.id = x.batch_id
$$;
