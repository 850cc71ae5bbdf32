-- What is left over is collected once, from what the line leg left and from the few other kinds, instead of looking at every item for each question.

-- What no pair, no match and no difference holds, by id, and what else has to be looked up: pairs whose fee is not the booked one, and what the books
-- have on the first or last day of a month.
CREATE FUNCTION recon_leave_over(p_merchant uuid) RETURNS void LANGUAGE plpgsql
SET enable_nestloop = off SET work_mem = '64MB' SET default_statistics_target = 10 AS $$
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_left, pg_temp.recon_fee_pair, pg_temp.recon_border;
  CREATE TEMP TABLE recon_left ON COMMIT DROP AS
    SELECT o.id FROM (
      SELECT l.id FROM recon_open_ledger l UNION ALL SELECT p.id FROM recon_open_psp p
      UNION ALL SELECT i.id FROM recon_item i WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind NOT IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')) o
     WHERE NOT EXISTS (SELECT FROM recon_match_item x WHERE x.merchant_id = p_merchant AND x.item_id = o.id AND x.is_live)
       AND NOT EXISTS (SELECT FROM recon_difference d WHERE d.merchant_id = p_merchant AND d.item_id = o.id)
       AND NOT EXISTS (SELECT FROM recon_difference d WHERE d.merchant_id = p_merchant AND d.other_id = o.id);
  CREATE TEMP TABLE recon_fee_pair ON COMMIT DROP AS SELECT a.psp_id, a.ledger_id, a.fee_off FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.fee_off <> 0;
  CREATE TEMP TABLE recon_border ON COMMIT DROP AS
    SELECT i.id, i.day, i.happened_at FROM recon_item i
     WHERE i.merchant_id = p_merchant AND i.side = 'ledger' AND (date_part('day', i.day) = 1 OR date_part('day', i.day + 1) = 1);
  ANALYZE recon_left, recon_fee_pair, recon_border;
  PERFORM recon_look_up(p_merchant);
  ANALYZE recon_loose;
END $$;

-- What there is to say of these few, looked up by their ids: the settings of whole passes do not hold here. recon_turned has the pairs that the books
-- have in one month and the provider in the other, a day apart, and whether its time zone explains it.
CREATE FUNCTION recon_look_up(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET enable_nestloop = on AS $$
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_loose, pg_temp.recon_fee_off, pg_temp.recon_differing, pg_temp.recon_turned;
  CREATE TEMP TABLE recon_loose ON COMMIT DROP AS
    SELECT i.id, i.side, i.kind, i.source_id, i.currency, i.gross_minor, i.net_currency, i.net_minor, i.ext_id, i.object_ref, i.parent_ref, i.our_id, i.batch_ref,
           i.clear_key, i.happened_at, i.day FROM recon_left o JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = o.id;
  CREATE TEMP TABLE recon_fee_off ON COMMIT DROP AS
    SELECT o.id, o.source_id, f.ledger_id, o.parent_ref, o.ext_id, o.currency, o.gross_minor, f.fee_off, l.fee_minor - o.fee_minor AS minor FROM recon_fee_pair f
      JOIN recon_item o ON o.merchant_id = p_merchant AND o.id = f.psp_id JOIN recon_item l ON l.merchant_id = p_merchant AND l.id = f.ledger_id;
  CREATE TEMP TABLE recon_differing ON COMMIT DROP AS
    SELECT d.item_id, d.other_id, d.leg, d.rule, d.minor, o.source_id, o.parent_ref, o.ext_id, o.currency, o.net_currency, o.gross_minor, t.batch_ref
      FROM recon_difference d JOIN recon_item o ON o.merchant_id = d.merchant_id AND o.id = d.item_id
      JOIN recon_item t ON t.merchant_id = d.merchant_id AND t.id = d.other_id WHERE d.merchant_id = p_merchant;
  CREATE TEMP TABLE recon_turned ON COMMIT DROP AS
    SELECT p.id AS item_id, l.id AS other_id, p.source_id, coalesce(p.parent_ref, p.ext_id) AS reference, p.currency, p.gross_minor AS minor,
           date_trunc('month', l.day + recon_day_shift(l.happened_at, s.time_zone)) = date_trunc('month', p.day) AS is_explained
      FROM recon_border l JOIN recon_pair a ON a.merchant_id = p_merchant AND a.ledger_id = l.id
      JOIN recon_item p ON p.merchant_id = p_merchant AND p.id = a.psp_id
      JOIN recon_source s ON s.merchant_id = p_merchant AND s.id = p.source_id
     WHERE abs(l.day - p.day) = 1 AND date_trunc('month', l.day) <> date_trunc('month', p.day);
END $$;

-- Everything the sources do not agree on now, told from what recon_leave_over left. ``minor`` is what the other side has more than the ledger.
CREATE OR REPLACE FUNCTION recon_wanted_breaks(p_merchant uuid, p_today date, p_fee_minor bigint, p_fee_bps bigint, p_rounding bigint, p_settle_days integer, p_bank_days integer)
RETURNS TABLE (kind text, subject text, source_id uuid, item_id uuid, other_id uuid, reference text, currency text, minor bigint)
LANGUAGE plpgsql SET enable_nestloop = off SET work_mem = '64MB' SET hash_mem_multiplier = 8 AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY WITH
  line AS (SELECT l.* FROM recon_loose l WHERE l.side = 'psp' AND l.kind NOT IN ('batch', 'payout', 'fee', 'reserve_hold', 'reserve_release')),
  expected AS (SELECT l.* FROM recon_loose l JOIN recon_source s ON s.merchant_id = p_merchant AND s.id = l.source_id
                WHERE l.side = 'ledger' AND l.day + recon_day_shift(l.happened_at, s.time_zone) + p_settle_days < p_today),
  -- only what a loose item could be a copy of, or belong to, is looked at, and all of it once
  kin AS MATERIALIZED (SELECT i.id, i.side, i.source_id, i.kind, i.currency, i.gross_minor, i.object_ref, i.parent_ref, i.our_id FROM recon_item i
    WHERE i.merchant_id = p_merchant AND (
      i.side = 'psp' AND i.kind <> 'batch' AND (i.parent_ref IN (SELECT l.parent_ref FROM line l) OR i.our_id IN (SELECT l.our_id FROM line l))
      OR i.side = 'ledger' AND (i.object_ref IN (SELECT e.object_ref FROM expected e) OR i.object_ref IN (SELECT l.parent_ref FROM line l) OR i.parent_ref IN (SELECT l.parent_ref FROM line l)))),
  twin AS MATERIALIZED (SELECT * FROM kin k WHERE k.side = 'psp' AND NOT EXISTS (SELECT FROM recon_loose x WHERE x.id = k.id)),
  own_twin AS MATERIALIZED (SELECT * FROM kin k WHERE k.side = 'ledger' AND NOT EXISTS (SELECT FROM recon_loose x WHERE x.id = k.id)),
  known AS MATERIALIZED (SELECT * FROM kin k WHERE k.side = 'ledger' AND k.kind = 'charge'),
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
  SELECT CASE WHEN d.rule = 'currency' THEN 'currency' WHEN abs(d.minor) <= p_rounding THEN 'rounding' ELSE 'amount' END, 'item:' || d.item_id, d.source_id, d.item_id,
         d.other_id, CASE d.leg WHEN 'batch' THEN d.batch_ref ELSE coalesce(d.parent_ref, d.ext_id) END, CASE d.leg WHEN 'batch' THEN d.net_currency ELSE d.currency END,
         CASE WHEN d.rule = 'currency' THEN d.gross_minor ELSE d.minor END FROM recon_differing d
  UNION ALL
  SELECT 'fee', 'item:' || o.id, o.source_id, o.id, o.ledger_id, coalesce(o.parent_ref, o.ext_id), o.currency, o.minor
    FROM recon_fee_off o WHERE abs(o.fee_off) > p_fee_minor OR abs(o.fee_off) * 10000 > abs(o.gross_minor) * p_fee_bps
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
    FROM recon_loose b WHERE b.kind = 'batch' AND b.net_minor <> 0 AND b.day + p_bank_days < p_today
  UNION ALL
  -- a statement that opens with a balance no other closed with, and is not the first of its account: one is missing before it
  SELECT 'file_gap', 'gap:' || g.source_id || ':' || g.batch, g.source_id, NULL, NULL, g.batch, g.currency, 0
    FROM (SELECT t.*, row_number() OVER (PARTITION BY t.source_id, t.account, t.currency ORDER BY length(t.statement), t.statement) AS place FROM told t
           WHERE (t.source_id, t.account, t.currency, t.opening_minor) NOT IN (
             SELECT o.source_id, o.account, o.currency, o.closing_minor FROM told o WHERE o.batch <> t.batch)) g WHERE g.place > 1;
END $$;
