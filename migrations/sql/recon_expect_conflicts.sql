-- What the ledger expects of each connection with a source: one item per capture and refund on 1100, with the fee that was booked beside it. What a
-- provider took without being asked for that amount, and gave back in full, is expected like any other charge and refund.
CREATE OR REPLACE FUNCTION recon_expect(p_merchant uuid, p_at timestamptz) RETURNS bigint LANGUAGE plpgsql SET work_mem = '128MB' SET default_statistics_target = 10 AS $$
DECLARE v_count bigint; v_first uuid := new_id(p_at);
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_moved, pg_temp.recon_once;
  -- a fee is booked right after its capture on the same account, so one look at the entries finds both
  CREATE TEMP TABLE recon_moved ON COMMIT DROP AS
    SELECT s.id AS source_id, a.currency, t.id, t.kind, t.source_id AS payment_id, split_part(t.event_key, ':', 2) AS operation, t.posted_at, t.effective_on,
           e.clear_key, e.side * e.amount AS minor
      FROM recon_source s
      JOIN ledger.account a ON a.merchant_id = s.merchant_id AND a.code = '1100' AND a.owner_type = 'connection' AND a.owner_id = s.connection_id
      JOIN ledger.entry e ON e.merchant_id = a.merchant_id AND e.account_id = a.id AND e.txn_id > s.ledger_through AND e.phase IN (0, 2)
      JOIN ledger.txn t ON t.merchant_id = e.merchant_id AND t.id = e.txn_id
     WHERE s.merchant_id = p_merchant AND s.side = 'psp' AND t.source_type = 'payment'
       AND t.kind IN ('payment.captured', 'refund.confirmed', 'refund.returned', 'payment.psp_fee', 'conflict.taken', 'conflict.given_back', 'conflict.returned')
       AND NOT EXISTS (SELECT FROM recon_item i WHERE i.merchant_id = p_merchant AND i.source_id = s.id AND i.side = 'ledger' AND i.ext_id = 'txn_' || t.id);
  -- nearly always a transaction has one entry there; the lines of one that has several are one item, by its first key
  IF EXISTS (SELECT FROM recon_moved WHERE kind <> 'payment.psp_fee' GROUP BY id, source_id HAVING count(*) > 1) THEN
    CREATE TEMP TABLE recon_once ON COMMIT DROP AS
      SELECT DISTINCT ON (id, source_id) source_id, currency, id, kind, payment_id, operation, posted_at, effective_on, clear_key, sum(minor)::bigint AS minor
        FROM recon_moved GROUP BY source_id, currency, id, kind, payment_id, operation, posted_at, effective_on, clear_key ORDER BY id, source_id, clear_key;
    DROP TABLE recon_moved;
    ALTER TABLE recon_once RENAME TO recon_moved;
  END IF;
  -- how many there are decides how they are best joined
  ANALYZE recon_moved;
  WITH several AS MATERIALIZED (
    -- the id in an event key is taken apart only where a payment has several operations of the kind
    SELECT DISTINCT o.payment_id, o.kind FROM payment_operation o WHERE o.merchant_id = p_merchant AND o.number > 1 AND o.payment_id IN (SELECT payment_id FROM recon_moved)),
  fee AS (
    SELECT payment_id, operation, -sum(minor)::bigint AS minor FROM recon_moved WHERE kind = 'payment.psp_fee' GROUP BY payment_id, operation)
  INSERT INTO recon_item (merchant_id, id, source_id, side, kind, raw_type, ext_id, object_ref, parent_ref, our_id, payment_id, merchant_ref, currency,
      gross_minor, net_currency, fee_minor, net_minor, happened_at, day, clear_key, created_at)
    SELECT p_merchant, numbered_id(v_first, row_number() OVER ()), m.source_id, 'ledger',
           CASE WHEN m.kind IN ('payment.captured', 'conflict.taken') THEN 'charge' WHEN m.kind IN ('refund.confirmed', 'conflict.given_back') THEN 'refund'
                ELSE 'refund_reversal' END,
           m.kind, 'txn_' || m.id, x.provider_reference, p.provider_reference, x.id, m.payment_id, p.order_reference, m.currency,
           m.minor, m.currency, coalesce(f.minor, 0), m.minor - coalesce(f.minor, 0), m.posted_at, m.effective_on, m.clear_key, p_at
      FROM recon_moved m
      JOIN payment p ON p.merchant_id = p_merchant AND p.id = m.payment_id
      LEFT JOIN payment_operation o ON o.merchant_id = p_merchant AND o.payment_id = m.payment_id AND o.number = 1
                                   AND m.kind <> 'conflict.taken'
                                   AND o.kind = CASE m.kind WHEN 'payment.captured' THEN 'capture' ELSE 'refund' END
      LEFT JOIN payment_attempt x ON x.merchant_id = p_merchant AND x.id =
        CASE WHEN m.kind = 'conflict.taken' THEN public_uuid(m.operation)
             WHEN o.id IS NOT NULL AND (o.payment_id, o.kind) NOT IN (SELECT s.payment_id, s.kind FROM several s) THEN o.attempt_id
             ELSE (SELECT y.attempt_id FROM payment_operation y WHERE y.merchant_id = p_merchant AND y.id = public_uuid(m.operation)) END
      LEFT JOIN fee f ON f.payment_id = m.payment_id AND f.operation = m.operation AND m.kind IN ('payment.captured', 'conflict.taken')
     WHERE m.kind <> 'payment.psp_fee';
  GET DIAGNOSTICS v_count = ROW_COUNT;
  -- a transaction may become visible after one with a higher number, but not an hour later: statements are cut off long before
  UPDATE recon_source s SET ledger_through = greatest(s.ledger_through, coalesce((SELECT max(t.id) FROM ledger.txn t
      WHERE t.merchant_id = p_merchant AND t.posted_at < clock_timestamp() - interval '1 hour'), 0)) WHERE s.merchant_id = p_merchant;
  RETURN v_count;
END $$;
