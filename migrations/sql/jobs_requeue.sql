-- Give a merchant's dead jobs new tries: their events go back into the outbox as they were, and the relay publishes them again. With its owner's
-- rights, because the application may write events and never change one. Jobs of the same event that are done stay done.
CREATE FUNCTION jobs_requeue(p_merchant uuid, p_events uuid[], p_actors text[], p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE v_count bigint;
BEGIN
  IF p_merchant IS DISTINCT FROM nullif(current_setting('app.merchant_id', true), '')::uuid THEN
    RAISE EXCEPTION 'this transaction is not open for merchant %', p_merchant USING ERRCODE = '42501';
  END IF;
  WITH again AS (
    UPDATE job_run r SET state = 'failed', attempts = 0, last_at = p_at FROM unnest(p_events, p_actors) c(event_id, actor)
     WHERE r.event_id = c.event_id AND r.actor = c.actor AND r.merchant_id = p_merchant AND r.state = 'dead'
     RETURNING r.event_id, r.topic, r.payload),
  told AS (
    INSERT INTO outbox AS o (id, merchant_id, topic, payload, object_id, created_at, due_at)
      SELECT DISTINCT ON (event_id) event_id, p_merchant, topic, payload -> 'payload', (payload ->> 'object_id')::uuid, p_at, p_at FROM again
      ON CONFLICT (id) DO UPDATE SET published_at = NULL, due_at = excluded.due_at, last_error = NULL WHERE o.merchant_id = p_merchant)
  SELECT count(*) INTO v_count FROM again;
  RETURN v_count;
END $$;
