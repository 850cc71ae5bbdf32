-- What an entry says, as one hash; an array of JSON, so that no text can pass for the field beside it.
CREATE FUNCTION audit_entry_hash(e audit_entry) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(jsonb_build_array(e.id, extract(epoch FROM e.at)::text, e.actor_kind, e.actor_id, e.actor_name, e.address,
    extract(epoch FROM e.factor_at)::text, e.request_id, e.action, e.object_type, e.object_id, e.before, e.after, e.reason)::text, 'UTF8'))
$$;

-- The entries that are in no block yet, oldest first. It looks back from the last block only so far, because the trail is long.
CREATE FUNCTION audit_unsealed(p_merchant uuid, p_back interval, p_most integer) RETURNS SETOF uuid LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  WITH since AS (
    SELECT greatest(coalesce((SELECT max(b.made_at) FROM audit_block b WHERE b.merchant_id = p_merchant) - p_back, 'epoch'), 'epoch') AS moment)
  SELECT e.id FROM audit_entry e, since
   WHERE e.merchant_id = p_merchant
     -- ids begin with their milliseconds, so a stretch of time is a stretch of the key
     AND e.id >= (lpad(to_hex((extract(epoch FROM since.moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
     AND NOT EXISTS (SELECT FROM audit_sealed s WHERE s.merchant_id = e.merchant_id AND s.entry_id = e.id)
   ORDER BY e.id LIMIT p_most
$$;

-- What some entries come to: how many there are, and one hash over all of them in the order of their ids.
CREATE FUNCTION audit_content(p_merchant uuid, p_ids uuid[], OUT o_entries bigint, OUT o_hash text) LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT count(*), encode(sha256(coalesce(string_agg(audit_entry_hash(e), ''::bytea ORDER BY e.id), ''::bytea)), 'hex')
    FROM audit_entry e WHERE e.merchant_id = p_merchant AND e.id = ANY (p_ids)
$$;

-- The merchants with entries that are in no block: ids only, so that a worker can then work inside each merchant's wall.
CREATE FUNCTION audit_to_seal(p_back interval) RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.id FROM merchant m WHERE EXISTS (SELECT FROM audit_unsealed(m.id, p_back, 1))
$$;

-- The merchants with a chain, for the nightly comparison.
CREATE FUNCTION audit_chains() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.id FROM merchant m WHERE EXISTS (SELECT FROM audit_block b WHERE b.merchant_id = m.id)
$$;
GRANT EXECUTE ON FUNCTION audit_unsealed, audit_content TO countinghouse_app;
