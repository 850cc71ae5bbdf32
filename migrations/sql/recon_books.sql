-- The lines of providers that are to be booked, or booked otherwise, into a table of the transaction: what a line clears on, the fee to correct,
-- and, for those that nothing is special about, the number of the transaction they go into.
CREATE FUNCTION recon_collect_due(p_merchant uuid, p_fee_minor bigint, p_fee_bps bigint, p_lines integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE v_last bigint;
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_due;
  CREATE TEMPORARY TABLE recon_due ON COMMIT DROP AS
  WITH line AS MATERIALIZED (
    SELECT i.id, i.source_id, i.kind, i.currency, i.gross_minor, i.net_currency, i.fee_minor, i.net_minor, i.batch_ref, i.ext_id, i.posted_key,
           i.posted_fee_minor, k.key, s.connection_id, 'batch:' || i.source_id || ':' || i.batch_ref || '/' || i.net_currency AS batch_key,
           CASE WHEN k.ledger_fee IS NULL THEN 0 WHEN i.currency <> i.net_currency THEN -k.ledger_fee
                WHEN k.ledger_fee = 0 OR (abs(i.fee_minor - k.ledger_fee) <= p_fee_minor AND abs(i.fee_minor - k.ledger_fee) * 10000 <= abs(i.gross_minor) * p_fee_bps)
                THEN i.fee_minor - k.ledger_fee ELSE 0 END AS fee_due
      FROM recon_item i JOIN recon_line_keys(p_merchant) k ON k.item_id = i.id
      JOIN recon_source s ON s.merchant_id = i.merchant_id AND s.id = i.source_id
     WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind NOT IN ('batch', 'payout') AND i.batch_ref IS NOT NULL AND i.net_minor <> 0),
  due AS (
    SELECT *, kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal') AND currency = net_currency AND posted_key IS NULL AND key IS NOT NULL
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

-- Book some of the plain ones (6): what the provider owes for each moves to what is on its way in its batch, a transaction for so many lines.
CREATE FUNCTION recon_book_plain(p_merchant uuid, p_run uuid, p_on date, p_from bigint, p_through bigint, p_actor_kind text, p_actor_id uuid, p_request_id text)
  RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  RETURN (WITH part AS MATERIALIZED (SELECT * FROM recon_due WHERE is_plain AND txn > p_from AND txn <= p_through),
  line AS (
    SELECT txn, 1 AS place, '1210' AS code, connection_id, net_currency, min(batch_key) AS key, sum(net_minor)::bigint AS minor FROM part GROUP BY txn, connection_id, net_currency
    UNION ALL
    SELECT txn, 2, '1100', connection_id, net_currency, key, -sum(net_minor)::bigint FROM part GROUP BY txn, connection_id, net_currency, key),
  kept AS MATERIALIZED (SELECT * FROM line WHERE minor <> 0),
  header AS MATERIALIZED (
    SELECT txn, row_number() OVER (ORDER BY txn) AS number, left(min(batch_key), 200) AS description FROM part WHERE txn IN (SELECT k.txn FROM kept k) GROUP BY txn),
  headers AS (
    SELECT array_agg('settlement.reported'::text) AS kinds, array_agg('run'::text) AS source_types, array_agg(p_run) AS source_ids,
           array_agg('lines:' || txn ORDER BY number) AS event_keys, array_agg(p_on) AS effective_ons, array_agg(p_actor_kind) AS actor_kinds,
           array_agg(p_actor_id) AS actor_ids, array_agg(p_request_id) AS request_ids, array_agg(description ORDER BY number) AS descriptions FROM header),
  lines AS (
    SELECT array_agg(h.number::int ORDER BY h.number, k.place, k.key) AS lines_of, array_agg(k.code ORDER BY h.number, k.place, k.key) AS codes,
           array_agg('connection'::text) AS owner_types, array_agg(k.connection_id ORDER BY h.number, k.place, k.key) AS owners,
           array_agg(k.net_currency ORDER BY h.number, k.place, k.key) AS currencies,
           array_agg(sign(k.minor)::smallint ORDER BY h.number, k.place, k.key) AS sides, array_agg(abs(k.minor) ORDER BY h.number, k.place, k.key) AS amounts,
           array_agg(k.key ORDER BY h.number, k.place, k.key) AS keys FROM kept k JOIN header h USING (txn))
  SELECT cardinality(ledger.post(p_merchant, h.kinds, h.source_types, h.source_ids, h.event_keys, h.effective_ons, l.lines_of, l.codes, l.owner_types, l.owners,
                                 l.currencies, l.sides, l.amounts, l.keys, h.actor_kinds, h.actor_ids, h.request_ids, h.descriptions))
    FROM headers h, lines l WHERE h.kinds IS NOT NULL);
END $$;
