-- The line leg: which ledger item and which provider's line are the same money. Each pass is a function over temporary tables of the run:
-- recon_open_ledger and recon_open_psp, what takes part, and recon_made, the pairs found so far. A pair that stands takes part again only when
-- something new has a name in common with it, so a run costs what is new and one look at what is old.

-- The n-th of the ids that begin as this one does: rows that one statement makes by the million need no randomness each.
CREATE FUNCTION numbered_id(first uuid, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT encode(overlay(uuid_send(first) PLACING int4send(n::integer) FROM 13 FOR 4), 'hex')::uuid
$$;

-- What a foreign key would say of every item, said once for all that a statement writes: a third of what writing a million items takes.
CREATE FUNCTION recon_check_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM (SELECT DISTINCT merchant_id, source_id FROM fresh) f
              WHERE NOT EXISTS (SELECT FROM recon_source s WHERE s.merchant_id = f.merchant_id AND s.id = f.source_id)) THEN
    RAISE foreign_key_violation USING MESSAGE = 'an item names a source that this merchant does not have';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER source_known AFTER INSERT ON recon_item REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION recon_check_sources();
CREATE TRIGGER source_kept BEFORE UPDATE OF merchant_id, source_id, side, ext_id, kind ON recon_item FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER items_kept BEFORE DELETE OR TRUNCATE ON recon_item FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sources_kept BEFORE DELETE OR TRUNCATE ON recon_source FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What takes part: everything that no pair and nobody's link holds, then what has a name in common with it, until nothing more has. Two items can
-- only meet, or stand in each other's way, when they have a name in common, so what is left out would come out as it stands.
CREATE FUNCTION recon_open_lines(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_round integer := 0; v_new bigint;
BEGIN
  DROP TABLE IF EXISTS pg_temp.recon_open;
  CREATE TEMP TABLE recon_open ON COMMIT DROP AS
    SELECT i.id, 0 AS round, i.side, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.object_ref, i.parent_ref, i.our_id::text AS our_ref,
           i.payment_id::text AS payment_ref, i.merchant_ref, i.happened_at, i.day, i.fee_minor, i.net_currency FROM recon_item i
     WHERE i.merchant_id = p_merchant AND i.side IN ('ledger', 'psp') AND i.kind IN ('charge', 'refund', 'refund_reversal', 'dispute', 'dispute_reversal')
       AND NOT EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.psp_id = i.id)
       AND NOT EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.ledger_id = i.id)
       AND NOT EXISTS (SELECT FROM recon_match_item x JOIN recon_match m ON m.merchant_id = x.merchant_id AND m.id = x.match_id AND m.is_manual
                        WHERE x.merchant_id = p_merchant AND x.item_id = i.id AND x.is_live);
  GET DIAGNOSTICS v_new = ROW_COUNT;
  WHILE v_new > 0 AND EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant) LOOP
    WITH name AS MATERIALIZED (
      SELECT DISTINCT o.source_id, o.kind, k.ref FROM recon_open o
        CROSS JOIN LATERAL (VALUES (o.object_ref), (CASE o.side WHEN 'psp' THEN o.ext_id END), (o.parent_ref), (o.our_ref), (o.payment_ref), (o.merchant_ref)) k(ref)
       WHERE o.round = v_round AND k.ref IS NOT NULL),
    held AS (SELECT a.psp_id AS id FROM recon_pair a WHERE a.merchant_id = p_merchant UNION ALL SELECT a.ledger_id FROM recon_pair a WHERE a.merchant_id = p_merchant),
    -- OFFSET 0 keeps the planner from joining on source and kind first and comparing the names one by one
    named AS (
      SELECT i.id, i.source_id, i.kind, k.ref FROM recon_item i
        CROSS JOIN LATERAL (VALUES (i.object_ref), (CASE i.side WHEN 'psp' THEN i.ext_id END), (i.parent_ref), (i.our_id::text), (i.payment_id::text), (i.merchant_ref)) k(ref)
       WHERE i.merchant_id = p_merchant AND i.side IN ('ledger', 'psp') AND k.ref IS NOT NULL OFFSET 0),
    near AS MATERIALIZED (SELECT DISTINCT named.id FROM named JOIN name USING (ref, source_id, kind))
    INSERT INTO recon_open
      SELECT i.id, v_round + 1, i.side, i.source_id, i.kind, i.currency, i.gross_minor, i.ext_id, i.object_ref, i.parent_ref, i.our_id::text, i.payment_id::text,
             i.merchant_ref, i.happened_at, i.day, i.fee_minor, i.net_currency FROM near JOIN held USING (id) JOIN recon_item i ON i.merchant_id = p_merchant AND i.id = near.id
       WHERE NOT EXISTS (SELECT FROM recon_open o WHERE o.id = near.id);
    GET DIAGNOSTICS v_new = ROW_COUNT;
    v_round := v_round + 1;
  END LOOP;
  DROP TABLE IF EXISTS pg_temp.recon_open_ledger, pg_temp.recon_open_psp, pg_temp.recon_made;
  CREATE TEMP TABLE recon_open_ledger ON COMMIT DROP AS SELECT * FROM recon_open WHERE side = 'ledger';
  CREATE TEMP TABLE recon_open_psp ON COMMIT DROP AS SELECT * FROM recon_open WHERE side = 'psp';
  CREATE TEMP TABLE recon_made (ledger_id uuid NOT NULL, psp_id uuid NOT NULL, rule text NOT NULL, fee_off bigint NOT NULL) ON COMMIT DROP;
END $$;

-- Pair what has the same name and the same money. Several of one kind under one name are paired in the order they happened.
CREATE FUNCTION recon_pass_named(p_rule text, p_ledger_name name, p_psp_name name) RETURNS bigint LANGUAGE plpgsql
SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_count bigint;
BEGIN
  EXECUTE format($pass$
    WITH near AS MATERIALIZED (
      SELECT l.id AS l, p.id AS p, CASE WHEN l.fee_minor <> 0 AND p.currency = p.net_currency THEN p.fee_minor - l.fee_minor ELSE 0 END AS fee_off
        FROM recon_open_ledger l JOIN recon_open_psp p
          ON p.%2$I = l.%1$I AND p.source_id = l.source_id AND p.kind = l.kind AND p.currency = l.currency AND p.gross_minor = l.gross_minor),
    -- in a group of one and one neither is there twice; only the others have to be put in order
    l_many AS MATERIALIZED (SELECT l FROM near GROUP BY l HAVING count(*) > 1),
    p_many AS MATERIALIZED (SELECT p FROM near GROUP BY p HAVING count(*) > 1),
    several AS MATERIALIZED (SELECT * FROM near WHERE l IN (SELECT l FROM l_many) UNION SELECT * FROM near WHERE p IN (SELECT p FROM p_many)),
    ranked AS (
      SELECT s.l, s.p, s.fee_off, dense_rank() OVER (w ORDER BY l.happened_at, l.ext_id, l.id) AS n_l, dense_rank() OVER (w ORDER BY p.happened_at, p.ext_id, p.id) AS n_p
        FROM several s JOIN recon_open_ledger l ON l.id = s.l JOIN recon_open_psp p ON p.id = s.p
      WINDOW w AS (PARTITION BY l.source_id, l.%1$I, l.kind, l.currency, l.gross_minor))
    INSERT INTO recon_made
      SELECT l, p, $1, fee_off FROM near WHERE NOT EXISTS (SELECT FROM l_many m WHERE m.l = near.l) AND NOT EXISTS (SELECT FROM p_many m WHERE m.p = near.p)
      UNION ALL SELECT l, p, $1, fee_off FROM ranked WHERE n_l = n_p$pass$, p_ledger_name, p_psp_name) USING p_rule;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- Pair by our own reference alone: the same money within ten days, and the only one on both sides.
CREATE FUNCTION recon_pass_reference(p_rule text) RETURNS bigint LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
DECLARE v_count bigint;
BEGIN
  WITH l AS MATERIALIZED (SELECT o.id, o.source_id, k.ref, o.kind, o.currency, o.gross_minor, o.day, o.fee_minor FROM recon_open_ledger o
              CROSS JOIN LATERAL (VALUES (o.our_ref), (o.payment_ref), (o.merchant_ref)) k(ref) WHERE k.ref IS NOT NULL),
  p AS MATERIALIZED (SELECT o.id, o.source_id, coalesce(o.our_ref, o.merchant_ref) AS ref, o.kind, o.currency, o.gross_minor, o.day,
      o.fee_minor, o.net_currency FROM recon_open_psp o),
  near AS (SELECT l.id AS l, p.id AS p, CASE WHEN l.fee_minor <> 0 AND p.net_currency = currency THEN p.fee_minor - l.fee_minor ELSE 0 END AS fee_off FROM l JOIN p USING (source_id, ref, kind, currency, gross_minor) WHERE abs(l.day - p.day) <= 10)
  INSERT INTO recon_made
    SELECT l, p, p_rule, fee_off FROM (SELECT near.*, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM near) t WHERE of_l = 1 AND of_p = 1;
  GET DIAGNOSTICS v_count = ROW_COUNT;
  RETURN v_count;
END $$;

-- What a pass has paired takes no part in the next one.
CREATE FUNCTION recon_leave_rest(p_paired bigint) RETURNS void LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
BEGIN
  IF p_paired > 0 THEN
    CREATE TEMP TABLE recon_rest ON COMMIT DROP AS SELECT o.* FROM recon_open_ledger o WHERE NOT EXISTS (SELECT FROM recon_made m WHERE m.ledger_id = o.id);
    DROP TABLE recon_open_ledger;
    ALTER TABLE recon_rest RENAME TO recon_open_ledger;
    CREATE TEMP TABLE recon_rest ON COMMIT DROP AS SELECT o.* FROM recon_open_psp o WHERE NOT EXISTS (SELECT FROM recon_made m WHERE m.psp_id = o.id);
    DROP TABLE recon_open_psp;
    ALTER TABLE recon_rest RENAME TO recon_open_psp;
  END IF;
END $$;

-- What is left under one name without agreeing on the amount is the same money told differently, when there is one of it on each side.
CREATE FUNCTION recon_pass_differing(p_merchant uuid) RETURNS void LANGUAGE plpgsql SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
BEGIN
  DELETE FROM recon_difference WHERE merchant_id = p_merchant AND leg = 'line';
  WITH rest AS (
    SELECT l.id AS l, p.id AS p FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.ext_id) = (l.source_id, l.kind, l.object_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.parent_ref) = (l.source_id, l.kind, l.object_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.parent_ref) = (l.source_id, l.kind, l.parent_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.our_ref) = (l.source_id, l.kind, l.our_ref)
    UNION SELECT l.id, p.id FROM recon_open_ledger l JOIN recon_open_psp p ON (p.source_id, p.kind, p.our_ref) = (l.source_id, l.kind, l.payment_ref)),
  told AS (SELECT l, p FROM (SELECT l, p, count(*) OVER (PARTITION BY l) AS of_l, count(*) OVER (PARTITION BY p) AS of_p FROM rest) t WHERE of_l = 1 AND of_p = 1)
  INSERT INTO recon_difference (merchant_id, item_id, other_id, leg, rule, minor)
    SELECT p_merchant, p.id, l.id, 'line', CASE WHEN l.currency <> p.currency THEN 'currency' ELSE 'amount' END, p.gross_minor - l.gross_minor
      FROM told JOIN recon_open_ledger l ON l.id = told.l JOIN recon_open_psp p ON p.id = told.p;
END $$;

-- Keep the pairs: one that stands stays as it is, with the rule that made it; one that is another now is kept among the matches as undone.
CREATE FUNCTION recon_keep_pairs(p_merchant uuid, p_at timestamptz, p_version integer) RETURNS void LANGUAGE plpgsql
SET enable_nestloop = off SET enable_mergejoin = off SET work_mem = '128MB' AS $$
BEGIN
  IF EXISTS (SELECT FROM recon_open WHERE round > 0) THEN
    WITH gone AS (
      DELETE FROM recon_pair a USING recon_open o WHERE a.merchant_id = p_merchant AND a.psp_id = o.id
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
     WHERE NOT EXISTS (SELECT FROM recon_pair a WHERE a.merchant_id = p_merchant AND a.psp_id = m.psp_id);
END $$;

-- The line leg of a run: passes from the strongest name to the weakest, then what differs.
CREATE FUNCTION recon_match_lines(p_merchant uuid, p_at timestamptz, p_version integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM recon_open_lines(p_merchant);
  PERFORM recon_leave_rest(recon_pass_named('P0', 'object_ref', 'ext_id'));
  PERFORM recon_leave_rest(recon_pass_named('P0', 'object_ref', 'parent_ref'));
  PERFORM recon_leave_rest(recon_pass_named('P0', 'parent_ref', 'parent_ref'));
  PERFORM recon_leave_rest(recon_pass_reference('P1'));
  PERFORM recon_pass_differing(p_merchant);
  PERFORM recon_keep_pairs(p_merchant, p_at, p_version);
END $$;
