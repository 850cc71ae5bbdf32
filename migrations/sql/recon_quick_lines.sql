-- The line leg with less to write and to read: each side in a table of its own with what the passes look at, and nothing twice.

-- Take pairs that have a name in common with what takes part in again, from recon_near. They are few, and looked up as such: the settings of the
-- passes, made for joins of everything with everything, do not hold here.
CREATE FUNCTION recon_reopen(p_merchant uuid, p_round integer) RETURNS bigint LANGUAGE plpgsql SET enable_nestloop = on AS $$
DECLARE v_ledger bigint; v_psp bigint;
BEGIN
  INSERT INTO recon_open_ledger
    SELECT i.id, p_round, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.object_ref, i.parent_ref, i.our_id, i.payment_id, i.merchant_ref,
           i.happened_at, i.day, i.fee_minor FROM recon_near n JOIN recon_pair a ON a.merchant_id = p_merchant AND a.ledger_id = n.id
      JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = n.id;
  GET DIAGNOSTICS v_ledger = ROW_COUNT;
  INSERT INTO recon_open_psp
    SELECT i.id, p_round, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.parent_ref, i.our_id, i.merchant_ref, i.happened_at, i.day, i.fee_minor,
           i.net_currency FROM recon_near n JOIN recon_pair a ON a.merchant_id = p_merchant AND a.psp_id = n.id
      JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = n.id;
  GET DIAGNOSTICS v_psp = ROW_COUNT;
  RETURN v_ledger + v_psp;
END $$;

-- What takes part: everything that no pair and nobody's link holds, then what has a name in common with it, until nothing more has. Two items can
-- only meet, or stand in each other's way, when they have a name in common, so what is left out would come out as it stands. Each side has a
-- table of its own from the start, with what the passes read and nothing else; recon_reopened has the lines of pairs that take part again.
CREATE OR REPLACE FUNCTION recon_open_lines(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_round integer := 0; v_new bigint; v_more bigint;
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_open_ledger, pg_temp.recon_open_psp, pg_temp.recon_made, pg_temp.recon_reopened, pg_temp.recon_name, pg_temp.recon_near;
  CREATE TEMP TABLE recon_open_ledger ON COMMIT DROP AS
    SELECT i.id, 0 AS round, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.object_ref, i.parent_ref, i.our_id, i.payment_id, i.merchant_ref,
           i.happened_at, i.day, i.fee_minor FROM recon_item i
     WHERE i.merchant_id = p_merchant AND i.side = 'ledger' AND i.kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       AND NOT EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.ledger_id = i.id)
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live);
  GET DIAGNOSTICS v_new = ROW_COUNT;
  CREATE TEMP TABLE recon_open_psp ON COMMIT DROP AS
    SELECT i.id, 0 AS round, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.parent_ref, i.our_id, i.merchant_ref, i.happened_at, i.day, i.fee_minor,
           i.net_currency FROM recon_item i
     WHERE i.merchant_id = p_merchant AND i.side = 'psp' AND i.kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       AND NOT EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.psp_id = i.id)
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live);
  GET DIAGNOSTICS v_more = ROW_COUNT;
  v_new := v_new + v_more;
  WHILE v_new > 0 AND EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant) LOOP
    CREATE TEMP TABLE recon_name ON COMMIT DROP AS
      SELECT o.source_id, o.kind, k.ref FROM recon_open_ledger o
        CROSS JOIN LATERAL (VALUES (o.object_ref), (nullif(o.parent_ref, o.object_ref)), (o.our_id::text), (o.payment_id::text), (o.merchant_ref)) k(ref)
       WHERE o.round = v_round AND k.ref IS NOT NULL
      UNION ALL
      SELECT o.source_id, o.kind, k.ref FROM recon_open_psp o CROSS JOIN LATERAL (VALUES (o.ext_id), (o.parent_ref), (o.our_id::text), (o.merchant_ref)) k(ref)
       WHERE o.round = v_round AND k.ref IS NOT NULL;
    ANALYZE recon_name;
    -- what takes part already is left out first: after a large file that is all of it, and each has up to five names
    CREATE TEMP TABLE recon_near ON COMMIT DROP AS
      SELECT DISTINCT i.id FROM recon_item i
        CROSS JOIN LATERAL (VALUES (CASE i.side WHEN 'psp' THEN i.ext_id ELSE i.object_ref END), (nullif(i.parent_ref, i.object_ref)), (i.merchant_ref),
          (i.our_id::text), (i.payment_id::text)) k(ref)
       WHERE i.merchant_id = p_merchant AND i.side IN ('ledger', 'psp') AND k.ref IS NOT NULL
         AND NOT EXISTS (SELECT FROM recon_open_ledger o WHERE o.id = i.id) AND NOT EXISTS (SELECT FROM recon_open_psp o WHERE o.id = i.id)
         AND EXISTS (SELECT FROM recon_name n WHERE n.ref = k.ref AND n.source_id = i.source_id AND n.kind = i.kind);
    DROP TABLE recon_name;
    ANALYZE recon_near;
    v_new := recon_reopen(p_merchant, v_round + 1);
    DROP TABLE recon_near;
    v_round := v_round + 1;
  END LOOP;
  CREATE TEMP TABLE recon_reopened ON COMMIT DROP AS SELECT id FROM recon_open_psp WHERE round > 0;
  CREATE TEMP TABLE recon_made (ledger_id uuid NOT NULL, psp_id uuid NOT NULL, rule text NOT NULL, fee_off bigint NOT NULL) ON COMMIT DROP;
END $$;

-- Pair what has the same name and the same money. Several of one kind under one name are paired in the order they happened.
CREATE OR REPLACE FUNCTION recon_pass_named(p_rule text, p_ledger_name name, p_psp_name name) RETURNS bigint LANGUAGE plpgsql
SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_count bigint; v_more bigint := 0;
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_near, pg_temp.recon_several;
  EXECUTE format($pass$
    CREATE TEMP TABLE recon_near ON COMMIT DROP AS
      SELECT l.id AS l, p.id AS p, CASE WHEN l.fee_minor <> 0 AND p.currency = p.net_currency THEN p.fee_minor - l.fee_minor ELSE 0 END AS fee_off
        FROM recon_open_ledger l JOIN recon_open_psp p
          ON p.%2$I = l.%1$I AND p.source_id = l.source_id AND p.kind = l.kind AND p.currency = l.currency AND p.gross_minor = l.gross_minor$pass$, p_ledger_name, p_psp_name);
  -- in a group of one and one neither is there twice; only the others have to be put in order
  CREATE TEMP TABLE recon_several ON COMMIT DROP AS
    SELECT * FROM recon_near WHERE l IN (SELECT l FROM recon_near GROUP BY l HAVING count(*) > 1)
    UNION SELECT * FROM recon_near WHERE p IN (SELECT p FROM recon_near GROUP BY p HAVING count(*) > 1);
  INSERT INTO recon_made SELECT n.l, n.p, p_rule, n.fee_off FROM recon_near n WHERE NOT EXISTS (SELECT FROM recon_several s WHERE s.l = n.l AND s.p = n.p);
  GET DIAGNOSTICS v_count = ROW_COUNT;
  IF EXISTS (SELECT FROM recon_several) THEN
    EXECUTE format($pass$
      INSERT INTO recon_made SELECT l, p, $1, fee_off FROM (
        SELECT s.l, s.p, s.fee_off, dense_rank() OVER (w ORDER BY l.happened_at, l.ext_id, l.id) AS n_l, dense_rank() OVER (w ORDER BY p.happened_at, p.ext_id, p.id) AS n_p
          FROM recon_several s JOIN recon_open_ledger l ON l.id = s.l JOIN recon_open_psp p ON p.id = s.p
        WINDOW w AS (PARTITION BY l.source_id, l.%1$I, l.kind, l.currency, l.gross_minor)) ranked WHERE n_l = n_p$pass$, p_ledger_name) USING p_rule;
    GET DIAGNOSTICS v_more = ROW_COUNT;
  END IF;
  DROP TABLE recon_near, recon_several;
  RETURN v_count + v_more;
END $$;

-- Pair by our own reference alone: the same money within ten days, and the only one on both sides.
CREATE OR REPLACE FUNCTION recon_pass_reference(p_rule text) RETURNS bigint LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_count bigint;
BEGIN
  WITH l AS MATERIALIZED (SELECT o.id, o.source_id, k.ref, o.kind, o.currency, o.gross_minor, o.day, o.fee_minor FROM recon_open_ledger o
              CROSS JOIN LATERAL (VALUES (o.our_id::text), (o.payment_id::text), (o.merchant_ref)) k(ref) WHERE k.ref IS NOT NULL),
  p AS MATERIALIZED (SELECT o.id, o.source_id, coalesce(o.our_id::text, o.merchant_ref) AS ref, o.kind, o.currency, o.gross_minor, o.day,
      o.fee_minor, o.net_currency FROM recon_open_psp o),
  near AS (SELECT l.id AS l, p.id AS p, CASE WHEN l.fee_minor <> 0 AND p.net_currency = currency THEN p.fee_minor - l.fee_minor ELSE 0 END AS fee_off FROM l JOIN p USING (source_id, ref, kind, currency, gross_minor) WHERE abs(l.day - p.day) <= 10)
  INSERT INTO recon_made
    SELECT l, p, p_rule, fee_off FROM (SELECT near.*, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM near) t WHERE of_l = 1 AND of_p = 1;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- What is left under one name without agreeing on the amount is the same money told differently, when there is one of it on each side.
CREATE OR REPLACE FUNCTION recon_pass_differing(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
BEGIN
  DELETE FROM recon_difference WHERE merchant_id = p_merchant AND leg = 'line';
  WITH rest AS (
    SELECT l.id AS l, p.id AS p FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.ext_id) = (l.source_id, l.kind, l.object_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.parent_ref) = (l.source_id, l.kind, l.object_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.parent_ref) = (l.source_id, l.kind, l.parent_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.our_id) = (l.source_id, l.kind, l.our_id)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.our_id) = (l.source_id, l.kind, l.payment_id)),
  told AS (SELECT l, p FROM (SELECT l, p, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM rest) t WHERE of_l = 1 AND of_p = 1)
  INSERT INTO recon_difference (merchant_id, item_id, other_id, leg, rule, minor)
    SELECT p_merchant, p.id, l.id, 'line', CASE WHEN l.currency <> p.currency THEN 'currency' ELSE 'amount' END, p.gross_minor - l.gross_minor
      FROM told JOIN recon_open_ledger l ON l.id = told.l JOIN recon_open_psp p ON p.id = told.p;
END $$;

-- Keep the pairs: one that stands stays as it is, with the rule that made it; one that is another now is kept among the matches as undone.
CREATE OR REPLACE FUNCTION recon_keep_pairs(p_merchant uuid, p_at timestamptz, p_version integer) RETURNS void LANGUAGE plpgsql
SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
BEGIN
  IF EXISTS (SELECT FROM recon_reopened) THEN
    WITH gone AS (
      DELETE FROM recon_pair a USING recon_reopened o WHERE a.merchant_id = p_merchant AND a.psp_id = o.id
         AND NOT EXISTS (SELECT FROM recon_made m WHERE m.psp_id = a.psp_id AND m.ledger_id = a.ledger_id)
      RETURNING new_id(p_at) AS id, a.psp_id, a.ledger_id, a.rule, a.rule_version, a.made_at),
    kept AS (
      INSERT INTO recon_match (merchant_id, id, leg, rule, rule_version, key, made_by, made_at, undone_at)
        SELECT p_merchant, g.id, 'line', g.rule, g.rule_version, g.ledger_id || '|' || g.psp_id, 'rules', g.made_at, p_at FROM gone g RETURNING id)
    INSERT INTO recon_match_item (merchant_id, match_id, item_id, minor, currency, is_live)
      SELECT p_merchant, kept.id, i.id, CASE i.side WHEN 'psp' THEN i.gross_minor ELSE -i.gross_minor END, i.currency, false
        FROM kept JOIN gone g ON g.id = kept.id JOIN recon_item i ON i.merchant_id = p_merchant AND i.id IN (g.psp_id, g.ledger_id);
  END IF;
  INSERT INTO recon_pair (merchant_id, psp_id, ledger_id, rule, rule_version, fee_off, made_at)
    SELECT p_merchant, m.psp_id, m.ledger_id, m.rule, p_version, m.fee_off, p_at FROM recon_made m
     WHERE NOT EXISTS (SELECT FROM recon_reopened o JOIN recon_pair a ON a.merchant_id = p_merchant AND a.psp_id = o.id WHERE o.id = m.psp_id);
END $$;
