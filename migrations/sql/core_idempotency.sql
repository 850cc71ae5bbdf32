-- A key that is held already: reused with another request, answered before, still running, or left behind by a process that died and taken over.
CREATE FUNCTION idempotency_take_over(p_merchant uuid, p_key text, p_request bytea, p_lease timestamptz, p_at timestamptz,
  OUT claim text, OUT status bigint, OUT body bytea, OUT resource_id uuid) LANGUAGE plpgsql AS $$
DECLARE h idempotency_key;
BEGIN
  SELECT * INTO h FROM idempotency_key k WHERE k.merchant_id = p_merchant AND k.key = p_key FOR UPDATE;
  claim := CASE WHEN h.fingerprint <> p_request THEN 'reused' WHEN h.status IS NOT NULL THEN 'replay' WHEN h.lease_until > p_at THEN 'running' ELSE 'resume' END;
  status := h.status; body := h.body; resource_id := h.resource_id;
  IF claim = 'resume' THEN UPDATE idempotency_key k SET lease_until = p_lease WHERE k.merchant_id = p_merchant AND k.key = p_key; END IF;
END $$;
