-- The bank's side, and what else is compared beyond one item with another: which payouts a statement's lines carry out or bring back, and what is left. Like the rest, whole passes in sets that
-- depend on nothing but the items.

-- Which payouts each bank line names: by end-to-end id, else all payouts of a file by the file's reference. Banks break long names over lines,
-- so blanks do not count.
CREATE FUNCTION recon_name_payouts(p_merchant uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM payout WHERE merchant_id = p_merchant) THEN
    RETURN;
  END IF;
  WITH said AS MATERIALIZED (
    SELECT i.id, upper(regexp_replace(array_to_string(i.refs, '|') || '|' || i.ext_id || '|' || coalesce(i.words, ''), '\s', '', 'g')) AS words
      FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side = 'bank'
       AND NOT EXISTS (SELECT FROM recon_item_payout n WHERE n.merchant_id = p_merchant AND n.item_id = i.id)),
  one AS MATERIALIZED (
    SELECT DISTINCT s.id, p.id AS payout_id FROM said s CROSS JOIN LATERAL regexp_matches(s.words, 'PO[0-7][0-9A-HJKMNP-TV-Z]{25}', 'g') m
      JOIN payout p ON p.merchant_id = p_merchant AND p.end_to_end_id = m[1]),
  file AS (
    SELECT DISTINCT s.id, p.id AS payout_id FROM said s CROSS JOIN LATERAL regexp_matches(s.words, 'BT([0-7][0-9A-HJKMNP-TV-Z]{25})', 'g') m
      JOIN payout p ON p.merchant_id = p_merchant AND p.batch_id = public_uuid(lower(m[1]))
     WHERE NOT EXISTS (SELECT FROM one WHERE one.id = s.id))
  INSERT INTO recon_item_payout (merchant_id, item_id, payout_id) SELECT p_merchant, id, payout_id FROM one UNION ALL SELECT p_merchant, id, payout_id FROM file;
END $$;

-- What statements say of payouts that the payouts have not heard: debits first, as they happen.
CREATE FUNCTION recon_told_payouts(p_merchant uuid) RETURNS TABLE (end_to_end_id text, word text, minor bigint, currency text, code text, line text)
LANGUAGE sql STABLE AS $$
  WITH named AS (
    SELECT b.net_minor, b.day, b.ext_id, b.raw_type, p.end_to_end_id, p.amount_minor, p.currency, p.status,
           sum(p.amount_minor) FILTER (WHERE p.status NOT IN ('failed', 'cancelled', 'rejected', 'expired')) OVER (PARTITION BY b.id) AS alive,
           count(*) OVER (PARTITION BY b.id) AS payouts,
           (SELECT a.word FROM payout_attempt a WHERE a.merchant_id = p_merchant AND a.payout_id = p.id ORDER BY a.number DESC LIMIT 1) AS last_word
      FROM recon_item b JOIN recon_item_payout n ON n.merchant_id = p_merchant AND n.item_id = b.id
      JOIN payout p ON p.merchant_id = p_merchant AND p.id = n.payout_id AND p.currency = b.net_currency
     WHERE b.merchant_id = p_merchant AND b.side = 'bank'),
  news AS (
    SELECT 'paid' AS word, n.* FROM named n WHERE net_minor < 0
       AND (alive = -net_minor AND status IN ('sending', 'unknown', 'submitted', 'in_transit')
         OR payouts = 1 AND amount_minor = -net_minor AND status = 'failed' AND last_word IS DISTINCT FROM 'paid')
    UNION ALL
    SELECT 'returned', n.* FROM named n WHERE payouts = 1 AND net_minor = amount_minor
       AND status IN ('sending', 'unknown', 'submitted', 'in_transit', 'paid')),
  first AS (SELECT DISTINCT ON (n.word, n.end_to_end_id) n.* FROM news n ORDER BY n.word, n.end_to_end_id, n.day, n.ext_id)
  SELECT f.end_to_end_id, f.word, f.amount_minor, f.currency, substring(f.raw_type FROM '[A-Z]{2}[0-9]{2}$'), f.ext_id FROM first f
   ORDER BY f.word, f.day, f.ext_id, f.end_to_end_id
$$;

-- What the books say left our bank accounts for payouts, or came back: one item per payout and direction.
CREATE FUNCTION recon_expect_payouts(p_merchant uuid, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH made AS (
    INSERT INTO recon_item (merchant_id, id, source_id, side, kind, raw_type, ext_id, object_ref, currency, gross_minor, net_currency, fee_minor, net_minor,
        happened_at, day, clear_key, created_at)
      SELECT p_merchant, new_id(t.posted_at), s.id, 'ledger', CASE t.kind WHEN 'payout.paid' THEN 'payout' ELSE 'payout_reversal' END, t.kind, 'txn_' || t.id,
             p.end_to_end_id, a.currency, e.side * e.amount, a.currency, 0, e.side * e.amount, t.posted_at, t.effective_on, 'payout:' || p.end_to_end_id, p_at
        FROM recon_source s
        JOIN ledger.account a ON a.merchant_id = s.merchant_id AND a.code = '1201' AND a.owner_type = 'bank' AND a.owner_id = coalesce(s.funding_account_id, s.id)
        JOIN ledger.entry e ON e.merchant_id = a.merchant_id AND e.account_id = a.id AND e.txn_id > s.ledger_through AND e.phase IN (0, 2)
        JOIN ledger.txn t ON t.merchant_id = e.merchant_id AND t.id = e.txn_id AND t.source_type = 'payout' AND t.kind IN ('payout.paid', 'payout.returned')
        JOIN payout p ON p.merchant_id = t.merchant_id AND p.id = t.source_id
       WHERE s.merchant_id = p_merchant AND s.side = 'bank'
      ON CONFLICT (merchant_id, source_id, side, ext_id, kind) DO NOTHING RETURNING id, object_ref)
  INSERT INTO recon_item_payout (merchant_id, item_id, payout_id)
    SELECT p_merchant, made.id, p.id FROM made JOIN payout p ON p.merchant_id = p_merchant AND p.end_to_end_id = made.object_ref;
END $$;

-- Which bank lines are which movements of payouts: one line may carry out several, one movement belongs to the first line that names it.
CREATE FUNCTION recon_payout_pairs(p_merchant uuid) RETURNS TABLE (bank_id uuid, ledger_id uuid, rule text) LANGUAGE sql STABLE AS $$
  WITH named AS (
    SELECT b.id AS bank, l.id AS ledger, b.net_minor AS paid, l.net_minor AS due, b.day, b.ext_id, b.source_id FROM recon_item b
      JOIN recon_item_payout n ON n.merchant_id = p_merchant AND n.item_id = b.id
      JOIN recon_item_payout o ON o.merchant_id = p_merchant AND o.payout_id = n.payout_id
      JOIN recon_item l ON l.merchant_id = p_merchant AND l.id = o.item_id AND l.side = 'ledger' AND l.net_currency = b.net_currency
       AND sign(l.net_minor) = sign(b.net_minor)
     WHERE b.merchant_id = p_merchant AND b.side = 'bank'
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id IN (b.id, l.id) AND x.is_live)),
  whole AS (SELECT n.*, sum(due) OVER (PARTITION BY bank) AS all_due, count(*) OVER (PARTITION BY bank) AS parts FROM named n),
  ranked AS MATERIALIZED (
    SELECT w.*, row_number() OVER (PARTITION BY ledger ORDER BY day, ext_id, source_id) AS place FROM whole w WHERE all_due = paid)
  SELECT r.bank, r.ledger, CASE WHEN r.parts > 1 THEN 'P4' ELSE 'P2' END FROM ranked r
   WHERE NOT EXISTS (SELECT FROM ranked x WHERE x.bank = r.bank AND x.place > 1)
$$;

-- Make the live matches of payouts those that the rules want.
CREATE FUNCTION recon_rematch_payouts(p_merchant uuid, p_at timestamptz, p_version integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM recon_wanted WHERE merchant_id = p_merchant;
  WITH pair AS MATERIALIZED (SELECT * FROM recon_payout_pairs(p_merchant)),
  part AS (SELECT 'payout|' || bank_id AS key, rule, bank_id AS id, 1 AS sign FROM pair UNION SELECT 'payout|' || bank_id, rule, ledger_id, -1 FROM pair)
  INSERT INTO recon_wanted (merchant_id, key, rule, item_id, minor, currency)
    SELECT p_merchant, part.key, part.rule, i.id, part.sign * i.net_minor, i.net_currency
      FROM part JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = part.id;
  UPDATE recon_match m SET undone_at = p_at WHERE m.merchant_id = p_merchant AND m.leg = 'payout' AND m.undone_at IS NULL AND NOT m.is_manual
     AND (SELECT array_agg((x.item_id, x.minor) ORDER BY x.item_id) FROM recon_match_item x WHERE x.merchant_id = p_merchant AND x.match_id = m.id)
         IS DISTINCT FROM (SELECT array_agg((w.item_id, w.minor) ORDER BY w.item_id) FROM recon_wanted w WHERE w.merchant_id = p_merchant AND w.key = m.key);
  UPDATE recon_match_item x SET is_live = false FROM recon_match m
   WHERE x.merchant_id = p_merchant AND x.is_live AND m.merchant_id = p_merchant AND m.id = x.match_id AND m.leg = 'payout' AND m.undone_at IS NOT NULL;
  DELETE FROM recon_wanted w USING recon_match m WHERE w.merchant_id = p_merchant AND m.merchant_id = p_merchant AND m.key = w.key AND m.undone_at IS NULL;
  INSERT INTO recon_match (merchant_id, id, leg, rule, rule_version, key, made_by, made_at)
    SELECT p_merchant, new_id(p_at), 'payout', min(rule), p_version, key, 'rules', p_at FROM recon_wanted WHERE merchant_id = p_merchant GROUP BY key;
  INSERT INTO recon_match_item (merchant_id, match_id, item_id, minor, currency)
    SELECT p_merchant, m.id, w.item_id, w.minor, w.currency FROM recon_wanted w
      JOIN recon_match m ON m.merchant_id = p_merchant AND m.key = w.key AND m.undone_at IS NULL WHERE w.merchant_id = p_merchant;
  DELETE FROM recon_wanted WHERE merchant_id = p_merchant;
END $$;

-- What the bank's side leaves open. ``minor`` is what the bank has more than the ledger.
CREATE FUNCTION recon_bank_breaks(p_merchant uuid, p_today date, p_bank_days integer, p_bank_fee bigint)
RETURNS TABLE (kind text, subject text, source_id uuid, item_id uuid, other_id uuid, reference text, currency text, minor bigint)
LANGUAGE sql STABLE AS $$
  WITH loose AS MATERIALIZED (
    SELECT i.* FROM recon_item i WHERE i.merchant_id = p_merchant AND i.net_minor <> 0
       AND (i.side = 'bank' OR (i.side = 'ledger' AND i.kind IN ('payout', 'payout_reversal')))
       AND NOT EXISTS (SELECT FROM recon_match_item x WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live)
       AND NOT EXISTS (SELECT FROM recon_difference d WHERE d.merchant_id = p_merchant AND d.item_id = i.id)),
  named AS MATERIALIZED (
    SELECT l.id, min(p.end_to_end_id) AS reference, coalesce(sum(p.amount_minor) FILTER (WHERE p.status NOT IN ('failed', 'cancelled', 'rejected', 'expired')), 0)::bigint AS alive,
           sum(p.amount_minor)::bigint AS whole, bool_or(EXISTS (
             SELECT FROM recon_item_payout o JOIN recon_item y ON y.merchant_id = p_merchant AND y.id = o.item_id AND y.side = 'ledger' AND sign(y.net_minor) = sign(l.net_minor)
               JOIN recon_match_item x ON x.merchant_id = p_merchant AND x.item_id = y.id AND x.is_live
              WHERE o.merchant_id = p_merchant AND o.payout_id = n.payout_id)) AS is_second
      FROM loose l JOIN recon_item_payout n ON n.merchant_id = p_merchant AND n.item_id = l.id
      JOIN payout p ON p.merchant_id = p_merchant AND p.id = n.payout_id WHERE l.side = 'bank' GROUP BY l.id)
  SELECT CASE WHEN n.is_second THEN 'duplicate_bank' WHEN n.id IS NOT NULL AND abs(b.net_minor) NOT IN (n.alive, n.whole) THEN 'amount'
              WHEN n.id IS NOT NULL THEN 'status' WHEN b.kind = 'fee' AND b.net_minor < 0 THEN 'fee' ELSE 'bank_unidentified' END,
         'item:' || b.id, b.source_id, b.id, NULL::uuid, coalesce(n.reference, b.ext_id), b.net_currency,
         CASE WHEN NOT n.is_second AND abs(b.net_minor) NOT IN (n.alive, n.whole) THEN b.net_minor - sign(b.net_minor)::bigint * n.alive ELSE b.net_minor END
    FROM loose b LEFT JOIN named n ON n.id = b.id
   WHERE b.side = 'bank' AND NOT (n.id IS NULL AND b.kind = 'fee' AND b.net_minor < 0 AND -b.net_minor <= p_bank_fee)
  UNION ALL
  -- a payout that should have left, since there are statements of its days and none has it
  SELECT 'missing_in_bank', 'item:' || l.id, l.source_id, l.id, NULL, l.object_ref, l.net_currency, -l.net_minor FROM loose l
   WHERE l.side = 'ledger' AND l.day + p_bank_days < p_today
     AND l.day >= (SELECT min(b.day) FROM recon_item b WHERE b.merchant_id = p_merchant AND b.source_id = l.source_id AND b.side = 'bank')
  UNION ALL
  -- a provider that gave back more of its reserve than it ever held
  SELECT 'amount', 'reserve:' || r.source_id || ':' || r.net_currency, r.source_id, NULL, NULL, 'Reserve', r.net_currency, sum(r.net_minor)::bigint
    FROM recon_item r WHERE r.merchant_id = p_merchant AND r.side = 'psp' AND r.kind IN ('reserve_hold', 'reserve_release') AND r.batch_ref IS NOT NULL
   GROUP BY r.source_id, r.net_currency HAVING sum(r.net_minor) > 0
$$;

-- Pairs that the books have in one month and the provider in the other, a day apart: whether its time zone explains it.
CREATE FUNCTION recon_turned_days(p_merchant uuid) RETURNS TABLE (item_id uuid, other_id uuid, source_id uuid, reference text, currency text, minor bigint, is_explained boolean)
LANGUAGE sql STABLE SET enable_nestloop = off AS $$
  SELECT p.id, l.id, p.source_id, coalesce(p.parent_ref, p.ext_id), p.currency, p.gross_minor,
         date_trunc('month', l.day + recon_day_shift(l.happened_at, s.time_zone)) = date_trunc('month', p.day)
    FROM recon_item l JOIN recon_pair a ON a.merchant_id = p_merchant AND a.ledger_id = l.id
    JOIN recon_item p ON p.merchant_id = p_merchant AND p.id = a.psp_id
    JOIN recon_source s ON s.merchant_id = p_merchant AND s.id = p.source_id
   WHERE l.merchant_id = p_merchant AND l.side = 'ledger' AND 1 IN (extract(day FROM l.day), extract(day FROM l.day + 1))
     AND abs(l.day - p.day) = 1 AND date_trunc('month', l.day) <> date_trunc('month', p.day)
$$;

-- What each conversion brought more or less than the usual rate of its batch would have; what is usual takes three. Outside of the band somebody has to look.
CREATE FUNCTION recon_rates(p_merchant uuid, p_band_bps bigint)
  RETURNS TABLE (item_id uuid, source_id uuid, reference text, currency text, minor bigint, is_off boolean)
LANGUAGE sql STABLE AS $$
  WITH converted AS (
    SELECT i.id, i.source_id, i.batch_ref, i.currency, i.net_currency, i.gross_minor, i.net_minor + i.fee_minor AS got, coalesce(i.parent_ref, i.ext_id) AS reference,
           (i.net_minor + i.fee_minor)::numeric / i.gross_minor AS rate FROM recon_item i
     WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.currency <> i.net_currency AND i.gross_minor <> 0 AND i.batch_ref IS NOT NULL
       AND i.kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')),
  usual AS (
    SELECT source_id, batch_ref, currency, net_currency, percentile_disc(0.5) WITHIN GROUP (ORDER BY rate) AS rate FROM converted
     GROUP BY 1, 2, 3, 4 HAVING count(*) >= 3)
  SELECT c.id, c.source_id, c.reference, c.net_currency, (c.got - round(c.gross_minor * u.rate))::bigint, abs(c.rate - u.rate) * 10000 > u.rate * p_band_bps
    FROM converted c JOIN usual u USING (source_id, batch_ref, currency, net_currency)
     -- a minor unit of rounding is no rate
   WHERE abs(c.got - round(c.gross_minor * u.rate)) > 1
$$;
