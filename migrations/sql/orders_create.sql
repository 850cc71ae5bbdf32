-- Create orders, in one round trip for as many as are asked for at the same moment: idempotency keys with the answers they keep, orders, lines,
-- events and entries of the audit trail. What refuses one of them is an exception, so that nothing at all is kept; the caller then asks for each
-- alone, and takes the long way for the one that was refused.
--
-- Locks, always in this order: the keys, sorted; the references, sorted.

-- One wish, as the application sends it. `answer`: the answer in pieces; after each but the last goes the name of a line's seller.
CREATE TYPE order_wish AS (
  key text, request text, lease timestamptz, status bigint, answer text[], id uuid, reference text, currency text, total bigint, buyer_name text,
  buyer_email text, buyer_email_lc text, description text, details jsonb, at timestamptz, expires timestamptz, sellers uuid[], descriptions text[],
  quantities bigint[], amounts bigint[], message uuid, payload jsonb, trail uuid, actor_kind text, actor_id uuid, actor_name text, address text,
  factor_at timestamptz, request_id text);

CREATE FUNCTION orders_create(p_merchant uuid, p_wishes json) RETURNS TABLE (id uuid, claim text, status bigint, body bytea, resource_id uuid)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE wishes order_wish[]; sellers uuid[]; names text[]; active uuid[]; bodies bytea[]; made uuid[];
BEGIN
  PERFORM set_config('app.merchant_id', p_merchant::text, true);
  SELECT array_agg(w ORDER BY w.key, w.id) INTO wishes FROM json_populate_recordset(NULL::order_wish, p_wishes) w;
  sellers := ARRAY(SELECT unnest(w.sellers) FROM unnest(wishes) w);
  SELECT array_agg(s.id), array_agg(s.name), array_agg(s.id) FILTER (WHERE s.status = 'active') INTO sellers, names, active
    FROM seller s WHERE s.merchant_id = p_merchant AND s.id = ANY (sellers);
  bodies := ARRAY(
    SELECT convert_to((SELECT string_agg(a.piece || coalesce(to_json(names[array_position(sellers, a.seller)])::text, ''), '' ORDER BY a.n)
                         FROM unnest(w.answer, w.sellers) WITH ORDINALITY a(piece, seller, n)), 'UTF8') FROM unnest(wishes) w);
  WITH fresh AS (
    INSERT INTO idempotency_key (merchant_id, key, fingerprint, resource_id, lease_until, status, body, created_at, finished_at)
      SELECT p_merchant, w.key, decode(w.request, 'hex'), w.id, w.lease, w.status, bodies[w.ordinality], w.at, w.at
        FROM unnest(wishes) WITH ORDINALITY w WHERE w.key IS NOT NULL ORDER BY w.key, w.id
      ON CONFLICT DO NOTHING RETURNING resource_id)
  SELECT array_agg(w.id) INTO made FROM unnest(wishes) w WHERE w.key IS NULL OR w.id IN (SELECT f.resource_id FROM fresh f);
  -- a key that was left behind without an answer is not taken over here: whoever takes the long way does that
  IF cardinality(made) IS DISTINCT FROM cardinality(wishes) THEN
    RETURN QUERY SELECT w.id, h.claim, h.status, h.body, h.resource_id
      FROM unnest(wishes) w CROSS JOIN LATERAL idempotency_take_over(p_merchant, w.key, decode(w.request, 'hex'), w.at, w.at) h
      WHERE w.id <> ALL (coalesce(made, '{}'));
    IF made IS NULL THEN RETURN; END IF;
  END IF;
  IF NOT ARRAY(SELECT unnest(w.sellers) FROM unnest(wishes) w WHERE w.id = ANY (made)) <@ coalesce(active, '{}') THEN
    RAISE EXCEPTION 'a seller is not there, or blocked' USING ERRCODE = '23514', CONSTRAINT = 'order_sellers';
  END IF;
  RETURN QUERY
  WITH wish AS MATERIALIZED (SELECT w.* FROM unnest(wishes) WITH ORDINALITY w WHERE w.id = ANY (made)),
  ordered AS (
    INSERT INTO sales_order (merchant_id, id, reference, status, currency, total_minor, buyer_name, buyer_email, buyer_email_lc, description, details,
        created_at, updated_at, expires_at)
      SELECT p_merchant, w.id, w.reference, 'open', w.currency, w.total, w.buyer_name, w.buyer_email, w.buyer_email_lc, w.description, w.details,
             w.at, w.at, w.expires FROM wish w ORDER BY w.reference),
  lined AS (
    INSERT INTO sales_order_line (merchant_id, order_id, position, seller_id, description, quantity, amount_minor)
      SELECT p_merchant, w.id, l.n - 1, l.seller, l.description, l.quantity, l.amount
        FROM wish w, unnest(w.sellers, w.descriptions, w.quantities, w.amounts) WITH ORDINALITY l(seller, description, quantity, amount, n)),
  told AS (
    INSERT INTO outbox (id, merchant_id, topic, payload, object_id, created_at, due_at)
      SELECT w.message, p_merchant, 'order.created', w.payload, w.id, w.at, w.at FROM wish w),
  trail AS (
    INSERT INTO audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type, object_id, after)
      SELECT p_merchant, w.trail, w.at, w.actor_kind, w.actor_id, w.actor_name, w.address, w.factor_at, w.request_id, 'order.created', 'order', w.id,
             jsonb_build_object('reference', w.reference, 'currency', w.currency, 'total_minor', w.total) FROM wish w)
  SELECT w.id, 'new', w.status, bodies[w.ordinality], w.id FROM wish w;
END $$;
