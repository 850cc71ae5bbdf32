-- Which connection takes a payment. Written once, here: payments_begin chooses with it, the page tries payments with it and replays the past with it,
-- so that what the page foretells is what happens.

-- The conditions of a rule that a payment does not meet, by name; none means that the rule matches. Amounts hold in their own currency only.
CREATE FUNCTION routing_unmet(r routing_rule, p_currency text, p_amount bigint, p_mode text, p_sellers uuid[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_remove(ARRAY[
    CASE WHEN r.currencies IS NOT NULL AND p_currency <> ALL (r.currencies) THEN 'currency' END,
    CASE WHEN r.at_least_minor IS NOT NULL AND (p_currency <> r.amount_currency OR p_amount < r.at_least_minor) THEN 'at_least' END,
    CASE WHEN r.below_minor IS NOT NULL AND (p_currency <> r.amount_currency OR p_amount >= r.below_minor) THEN 'below' END,
    CASE WHEN r.capture_mode IS NOT NULL AND p_mode <> r.capture_mode THEN 'capture' END,
    CASE WHEN r.seller_id IS NOT NULL AND r.seller_id <> ALL (p_sellers) THEN 'seller' END], NULL)
$$;

-- The first rule of a version that matches.
CREATE FUNCTION routing_first(p_merchant uuid, p_version uuid, p_currency text, p_amount bigint, p_mode text, p_sellers uuid[]) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT r.rule_key FROM routing_rule r
   WHERE r.merchant_id = p_merchant AND r.version_id = p_version AND routing_unmet(r, p_currency, p_amount, p_mode, p_sellers) = '{}'
   ORDER BY r.position LIMIT 1
$$;

-- Where in a split a payment falls, in hundredths of a percent: always the same for the same payment, whoever asks and how often.
-- md5 and not a hash of PostgreSQL's own, which may change with its version.
CREATE FUNCTION routing_draw(p_payment uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('x' || substr(md5(p_payment::text), 1, 8))::bit(32)::bigint % 10000
$$;

-- Who may take a payment by a rule, in this order: the one of the split that it falls to, then the fallback list.
CREATE FUNCTION routing_candidates(p_merchant uuid, p_version uuid, p_rule uuid, p_draw bigint)
RETURNS TABLE (connection_id uuid, name text, status text, share bigint, turn bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT c.id, c.name, c.status, t.share, CASE WHEN t.share IS NULL THEN t.place ELSE -1 END
    FROM (SELECT t.connection_id, t.share, t.place, sum(t.share) OVER (ORDER BY t.place) AS upto
            FROM routing_target t WHERE t.merchant_id = p_merchant AND t.version_id = p_version AND t.rule_key = p_rule) t
    JOIN psp_connection c ON c.merchant_id = p_merchant AND c.id = t.connection_id
   WHERE t.share IS NULL OR (p_draw < t.upto * 100 AND p_draw >= (t.upto - t.share) * 100)
   ORDER BY 5
$$;

-- Choose for a payment that begins, and keep why: version, rule, candidates in their order and who of them was skipped. The payment is written by
-- the caller in the same transaction, so the reference to it is asked for at the end.
CREATE FUNCTION routing_choose(p_merchant uuid, p_payment uuid, p_order uuid, p_currency text, p_amount bigint, p_mode text, p_at timestamptz)
RETURNS uuid LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE in_force uuid; rule uuid; draw bigint := routing_draw(p_payment); chosen uuid; asked jsonb;
BEGIN
  SELECT v.id INTO in_force FROM routing_version v WHERE v.merchant_id = p_merchant AND v.status = 'live';
  rule := routing_first(p_merchant, in_force, p_currency, p_amount, p_mode,
    ARRAY(SELECT l.seller_id FROM sales_order_line l WHERE l.merchant_id = p_merchant AND l.order_id = p_order));
  SELECT (array_agg(c.connection_id ORDER BY c.turn) FILTER (WHERE c.status = 'active'))[1],
         jsonb_agg(jsonb_build_object('connection_id', c.connection_id, 'name', c.name, 'share', c.share, 'status', c.status) ORDER BY c.turn)
    INTO chosen, asked FROM routing_candidates(p_merchant, in_force, rule, draw) c;
  IF chosen IS NULL THEN
    RAISE EXCEPTION 'no connection of the rule takes payments' USING ERRCODE = '23503', CONSTRAINT = 'payment_no_route',
      DETAIL = (SELECT r.name FROM routing_rule r WHERE r.merchant_id = p_merchant AND r.version_id = in_force AND r.rule_key = rule);
  END IF;
  INSERT INTO routing_decision (merchant_id, payment_id, version_id, rule_key, connection_id, draw, candidates, at)
    VALUES (p_merchant, p_payment, in_force, rule, chosen, draw, asked, p_at);
  RETURN chosen;
END $$;

-- What each rule of a version says to a payment: which of its conditions are not met, and whether the payment gets as far as this rule.
CREATE FUNCTION routing_trace(p_merchant uuid, p_version uuid, p_currency text, p_amount bigint, p_mode text, p_sellers uuid[])
RETURNS TABLE (rule_key uuid, name text, unmet text[], reached boolean, hit boolean) LANGUAGE sql STABLE AS $$
  SELECT r.rule_key, r.name, routing_unmet(r, p_currency, p_amount, p_mode, p_sellers), r.position <= f.position, r.rule_key = f.rule_key
    FROM routing_rule r
    JOIN routing_rule f ON f.merchant_id = p_merchant AND f.version_id = p_version
     AND f.rule_key = routing_first(p_merchant, p_version, p_currency, p_amount, p_mode, p_sellers)
   WHERE r.merchant_id = p_merchant AND r.version_id = p_version ORDER BY r.position
$$;

-- Who takes what falls to each part of a rule's split, as the connections stand now; nobody when all of its turn are off.
CREATE FUNCTION routing_outcomes(p_merchant uuid, p_version uuid, p_rule uuid)
RETURNS TABLE (share bigint, drawn uuid, taken uuid) LANGUAGE sql STABLE AS $$
  SELECT t.share, t.connection_id,
         (SELECT c.connection_id FROM routing_candidates(p_merchant, p_version, p_rule, t.begins * 100) c
           WHERE c.status = 'active' ORDER BY c.turn LIMIT 1)
    FROM (SELECT t.connection_id, t.share, t.place, (sum(t.share) OVER (ORDER BY t.place) - t.share)::bigint AS begins
            FROM routing_target t
           WHERE t.merchant_id = p_merchant AND t.version_id = p_version AND t.rule_key = p_rule AND t.share IS NOT NULL) t
   ORDER BY t.place
$$;

-- The newest payments since an id, had a version been live: by which rule, through which connection they went and would go. A payment that began
-- under rules without a decision was asked for by name, and no rule would have moved it.
CREATE FUNCTION routing_replay(p_merchant uuid, p_version uuid, p_since uuid, p_most bigint)
RETURNS TABLE (rule_key uuid, went uuid, goes uuid, by_name boolean, payments bigint) LANGUAGE sql STABLE AS $$
  WITH past AS MATERIALIZED (
    SELECT p.id, p.connection_id, p.currency, p.amount_minor, p.capture_mode,
           d.payment_id IS NULL AND p.created_at >= (SELECT min(v.activated_at) FROM routing_version v WHERE v.merchant_id = p_merchant) AS by_name
      FROM (SELECT * FROM payment p WHERE p.merchant_id = p_merchant AND p.id >= p_since ORDER BY p.id DESC LIMIT p_most) p
      LEFT JOIN routing_decision d ON d.merchant_id = p_merchant AND d.payment_id = p.id),
  led AS MATERIALIZED (
    SELECT p.id, p.connection_id, coalesce(p.by_name, false) AS by_name,
           CASE WHEN p.by_name IS NOT TRUE THEN routing_first(p_merchant, p_version, p.currency, p.amount_minor, p.capture_mode,
             ARRAY(SELECT s.seller_id FROM payment_part s WHERE s.merchant_id = p_merchant AND s.payment_id = p.id)) END AS rule_key
      FROM past p),
  gone AS (
    SELECT l.rule_key, l.connection_id, l.by_name,
           CASE WHEN l.by_name THEN l.connection_id ELSE
             (SELECT c.connection_id FROM routing_candidates(p_merchant, p_version, l.rule_key, routing_draw(l.id)) c
               WHERE c.status = 'active' ORDER BY c.turn LIMIT 1) END AS goes
      FROM led l)
  SELECT g.rule_key, g.connection_id, g.goes, g.by_name, count(*) FROM gone g GROUP BY 1, 2, 3, 4
$$;

-- Rules are what was agreed to: they change while their version is a draft, and never again.
CREATE FUNCTION routing_only_drafts_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE of_version record;
BEGIN
  IF TG_OP = 'INSERT' THEN of_version := NEW; ELSE of_version := OLD; END IF;
  PERFORM FROM routing_version v WHERE v.merchant_id = of_version.merchant_id AND v.id = of_version.version_id AND v.status = 'draft' FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'rules of a version that is no draft do not change' USING ERRCODE = '23514', CONSTRAINT = 'routing_only_drafts_change';
  END IF;
  RETURN of_version;
END $$;
CREATE TRIGGER only_drafts_change BEFORE INSERT OR DELETE ON routing_rule FOR EACH ROW EXECUTE FUNCTION routing_only_drafts_change();
CREATE TRIGGER only_drafts_change BEFORE INSERT OR DELETE ON routing_target FOR EACH ROW EXECUTE FUNCTION routing_only_drafts_change();
CREATE TRIGGER no_update BEFORE UPDATE ON routing_rule FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_update BEFORE UPDATE ON routing_target FOR EACH ROW EXECUTE FUNCTION refuse_change();
