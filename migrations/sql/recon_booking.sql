-- The lines of providers that are to be booked, or booked otherwise, into a table of the transaction: what a line clears on, the fee to correct,
-- and, for those that nothing is special about, the number of the transaction they go into.
CREATE OR REPLACE FUNCTION recon_collect_due(p_merchant uuid, p_fee_minor bigint, p_fee_bps bigint, p_lines integer) RETURNS bigint LANGUAGE plpgsql
SET enable_nestloop = off SET work_mem = '128MB' AS $$
DECLARE v_last bigint;
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_due;
  CREATE TEMPORARY TABLE recon_due ON COMMIT DROP AS
  WITH line AS MATERIALIZED (
    SELECT i.id, i.source_id, i.kind, i.currency, i.gross_minor, i.net_currency, i.fee_minor, i.net_minor, i.batch_ref, i.ext_id, b.key AS posted_key,
           coalesce(b.fee_minor, 0) AS posted_fee_minor, k.key, s.connection_id, 'batch:' || i.source_id || ':' || i.batch_ref || '/' || i.net_currency AS batch_key,
           CASE WHEN k.ledger_fee IS NULL THEN 0 WHEN i.currency <> i.net_currency THEN -k.ledger_fee
                WHEN k.ledger_fee = 0 OR (abs(i.fee_minor - k.ledger_fee) <= p_fee_minor AND abs(i.fee_minor - k.ledger_fee) * 10000 <= abs(i.gross_minor) * p_fee_bps)
                THEN i.fee_minor - k.ledger_fee ELSE 0 END AS fee_due
      FROM recon_item i JOIN recon_line_keys(p_merchant) k ON k.item_id = i.id
      LEFT JOIN recon_booking b ON b.merchant_id = i.merchant_id AND b.item_id = i.id
      JOIN recon_source s ON s.merchant_id = i.merchant_id AND s.id = i.source_id
     WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind NOT IN ('batch', 'payout') AND i.batch_ref IS NOT NULL AND i.net_minor <> 0),
  due AS (
    SELECT *, kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal') AND currency = net_currency AND posted_key IS NULL
              AND posted_fee_minor = 0 AND fee_due = 0 AS is_plain
      FROM line WHERE posted_key IS DISTINCT FROM key OR posted_fee_minor <> fee_due),
  piece AS (
    SELECT *, (row_number() OVER (PARTITION BY is_plain, source_id, batch_ref, net_currency ORDER BY ext_id, id) - 1) / p_lines AS part FROM due)
  SELECT *, CASE WHEN is_plain THEN dense_rank() OVER (PARTITION BY is_plain ORDER BY source_id, batch_ref, net_currency, part) END AS txn FROM piece;
  CREATE INDEX ON recon_due (txn) WHERE is_plain;
  ANALYZE recon_due;
  SELECT max(txn) INTO v_last FROM recon_due WHERE is_plain;
  RETURN coalesce(v_last, 0);
END $$;
